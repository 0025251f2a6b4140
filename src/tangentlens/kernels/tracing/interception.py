"""Watch every torch call that a model makes, without changing what it computes.

A torch function mode sees each call to a function of torch with the arguments that the user's code gave. Functions
of torch that are written in Python (torch.nn.functional.multi_head_attention_forward, say) would hide the calls
inside them: those without a rule of our own are entered, so that the mode sees their parts, and fused recurrent
calls are replaced by the steps they consist of.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tangentlens.kernels.tracing.embedding_bag import embedding_bag
from tangentlens.kernels.tracing.recurrent import RECURRENT

# (position in the sequence of calls, function name, args, kwargs, the call itself) -> what the call returned
Visitor = Callable[[int, str, tuple[Any, ...], dict[str, Any], Callable[[], Any]], Any]

_WRITTEN_OUT: Mapping[str, Callable[..., Any]] = {**RECURRENT, "embedding_bag": embedding_bag}
_OURS = Path(__file__).parents[2]
_PLUMBING = frozenset({"torch", "jaxtyping", "beartype"})
_PYTHON_LEVEL = frozenset({"torch.nn.functional", "torch.functional"})
_OVERRIDE_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@final
class Interception(TorchFunctionMode):
    """While active, hands every torch call to `visit`, in order.

    Args:
        visit: called with each call; must return what the call returns.
        whole: names of Python-level torch functions that are to be seen whole instead of entered.
    """

    def __init__(self, visit: Visitor, whole: frozenset[str]) -> None:
        super().__init__()
        self._visit, self._whole = visit, whole
        self.calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        parts = None if name in self._whole else _parts(func, name)
        if parts is not None:
            with self:
                return parts(*args, **kwargs)
        position = self.calls
        self.calls += 1
        return self._visit(position, name, args, kwargs, lambda: func(*args, **kwargs))


@lru_cache(maxsize=512)
def _parts(function: Any, name: str) -> Callable[..., Any] | None:
    """A function that makes the calls which the given function of torch consists of; None if it is called as it is.

    A Python-level function asks first whether someone overrides it: the copy has that question answered "no one",
    so that its body runs.
    """
    if name in _WRITTEN_OUT:
        return _WRITTEN_OUT[name]
    if not isinstance(function, FunctionType) or function.__module__ not in _PYTHON_LEVEL:
        return None
    if not set(_OVERRIDE_CHECKS) & set(function.__code__.co_names):
        return None
    names = {**function.__globals__, **dict.fromkeys(_OVERRIDE_CHECKS, _no_override)}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _no_override(*_: object) -> bool:
    return False


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def calling_line() -> str:
    """file:line of the innermost frame outside this package and torch: where the user's model makes the call."""
    for frame, line in traceback.walk_stack(None):
        if not _is_plumbing(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{line}"
    return ""


@lru_cache(maxsize=4096)
def _is_plumbing(filename: str) -> bool:
    path = Path(filename)
    return filename.startswith("<") or path.is_relative_to(_OURS) or bool(_PLUMBING & set(path.parts))


def shapes_of(value: Any) -> tuple[torch.Size, ...]:
    """Shapes of the tensors that a call returned."""
    return tuple(tensor.shape for tensor in tensors_in(value))
