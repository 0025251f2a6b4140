"""Private copies of a module's structure, with other tensors in the place of its parameters and buffers.

A copy shares nothing that a forward pass can change: modules, their dictionaries of parameters, buffers, children and
hooks, and plain containers in their attributes are copied; everything else is shared. References among the modules
(bound methods, partial functions, lists of layers) lead to the copies. What a closure refers to cannot be redirected
in this way; `Substitution` replaces such tensors at the calls of torch that receive them.
"""

import functools
from collections.abc import Iterator, Mapping
from types import MethodType
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_CONTAINER_LIMIT = 4096  # entries; a longer container in an attribute is data, not structure


def bind(module: nn.Module, tensors: Mapping[int, Tensor]) -> nn.Module:
    """Copy the structure of a module with some tensors replaced.

    Args:
        module: left as it is.
        tensors: id of a tensor in the module -> what stands in its place; others are shared.
    """
    return _Binder(tensors).module(module)


@final
class _Binder:
    """One copy: what has been replaced so far, by the id of the original."""

    def __init__(self, tensors: Mapping[int, Tensor]) -> None:
        self._known: dict[int, Any] = dict(tensors)

    def module(self, original: nn.Module) -> nn.Module:
        if id(original) in self._known:
            known: nn.Module = self._known[id(original)]
            return known
        copy = type(original).__new__(type(original))
        self._known[id(original)] = copy
        state = original.__dict__
        copied = dict(state)
        copied.update({key: type(state[key])(self._members(state[key])) for key in _REGISTRIES})
        for key, value in state.items():
            if key not in _REGISTRIES and not _is_plain(value):
                copied[key] = self.value(value)
        copied["_compiled_call_impl"] = None  # module.compile(): a private copy runs eagerly
        object.__setattr__(copy, "__dict__", copied)
        return copy

    def _members(self, members: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, member in members.items():
            yield name, self.module(member) if isinstance(member, nn.Module) else self._known.get(id(member), member)

    def value(self, value: Any) -> Any:
        """What stands in a copy where the original has `value`."""
        if id(value) in self._known:
            return self._known[id(value)]
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.module(value.__self__))
        if type(value) is functools.partial:
            arguments = [self.value(argument) for argument in value.args]
            keywords = {name: self.value(argument) for name, argument in value.keywords.items()}
            return functools.partial(self.value(value.func), *arguments, **keywords)
        return self._container(value)

    def _container(self, value: Any) -> Any:
        if not isinstance(value, list | tuple | dict | set) or len(value) > _CONTAINER_LIMIT:
            return value
        if type(value) in (list, tuple):
            return type(value)(self.value(item) for item in value)
        if isinstance(value, dict):
            copy = value.copy()  # keeps the class: an OrderedDict of hooks, a defaultdict
            copy.update({key: self.value(item) for key, item in value.items() if not _is_plain(item)})
            return copy
        return value.copy() if type(value) is set else value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.device)


@final
class Substitution(TorchFunctionMode):
    """While active, torch functions receive other tensors in the place of some.

    Args:
        tensors: id of a tensor -> what stands in its place.
    """

    def __init__(self, tensors: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._tensors = tensors

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*self._replaced(args), **self._replaced(kwargs or {}))

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensors.get(id(value), value)
        if type(value) in (tuple, list):
            return type(value)(self._replaced(item) for item in value)
        if type(value) is dict:
            return {key: self._replaced(item) for key, item in value.items()}
        return value


def leaves_of(output: Tensor) -> dict[int, Tensor]:
    """Leaf tensors that the graph of an output accumulates gradients in, by id."""
    found: dict[int, Tensor] = {}
    seen: set[Any] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::AccumulateGrad":
            found[id(node.variable)] = node.variable  # type: ignore[attr-defined]
        waiting += [following for following, _ in node.next_functions]
    return found
