"""A torch module as a function of its parameters, on a private copy of its structure."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, NumericalError, UnsupportedModelError
from tangentlens.models.binding import Substitution, bind, leaves_of
from tangentlens.models.wrappers import check_wrappers

_log = logging.getLogger(__name__)

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
PickOutput = Callable[[Any], Any]
_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class FunctionalModel:
    """f(parameters, inputs) -> (N, C).

    Attributes:
        module: a private copy of the user's module that holds `trainable` as its parameters; each call runs on a copy
            of its own, so that calls in several threads do not meet and no call changes the next.
        trainable: first name -> detached leaf that requires grad, for each parameter the user left trainable.
        aliases: first name -> every name of that parameter (tied weights have several).
        pick: from what the module returns to the (N, C) tensor.
        originals: each parameter and buffer of the user's module with its stand-in in `module`.
        redirected: whether stand-ins also replace the originals in calls of torch, because the module reaches some
            through closures.
        shared: name -> (parameter of the user, its version) where no copy was made: a change of it is noticed.
        widened: dtype of the user's parameters where the computation runs in float32 instead, else None.
        copied: bytes of parameters that were copied.
        device: on which the module makes tensors whose device it does not name.
    """

    module: nn.Module
    trainable: Mapping[str, Tensor]
    aliases: Mapping[str, tuple[str, ...]]
    pick: PickOutput
    originals: tuple[tuple[Tensor, Tensor], ...] = field(default=(), repr=False)
    redirected: bool = False
    shared: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict, repr=False)
    widened: torch.dtype | None = None
    copied: int = 0
    device: torch.device | None = None

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
        """Outputs (N, C) at these parameters; names left out of `parameters` keep the model's values."""
        args, kwargs = _as_call(map_inputs(torch.clone, inputs))  # the model may overwrite what it is given
        replaced = {id(self.trainable[name]): tensor for name, tensor in parameters.items()}
        with ExitStack() as stack:
            if self.device is not None and self.device != torch.get_default_device():
                stack.enter_context(self.device)
            if self.redirected:
                stack.enter_context(Substitution({id(a): replaced.get(id(b), b) for a, b in self.originals}))
            outputs = checked_output(self.pick(bind(self.module, replaced)(*args, **kwargs)))
        if outputs.ndim == 2:
            return outputs
        return outputs.reshape(1, -1) if batch_size(inputs) == 1 else outputs[:, None]  # a squeezed batch of one

    def __getstate__(self) -> dict[str, Any]:
        """A pickled view keeps its own tensors and forgets the user's module."""
        return {**self.__dict__, "shared": {}}

    def require_unchanged(self) -> None:
        """Raise NumericalError where a parameter that is shared with the user's module has changed."""
        changed = [name for name, (parameter, version) in self.shared.items() if parameter._version != version]
        if changed:
            raise NumericalError(
                "parameters changed during the call",
                where=", ".join(changed[:3]),
                remedy="Let training wait, analyse a copy of the model, or give a memory_budget that holds a copy.",
            )


def functional_model(
    module: nn.Module,
    output: PickOutput | None = None,
    *,
    copied: int = 0,
    device: torch.device | None = None,
) -> FunctionalModel:
    """View a module as a function of its trainable parameters; the module itself is never changed.

    Args:
        module: any torch module. Parameters of float16 or bfloat16 are copied to float32.
        output: from what the module returns to the (N, C) tensor; by default `pick_output`.
        copied: bytes of parameters up to which a copy is made of all, a snapshot that later training steps do not
            reach; beyond, parameters share the module's memory.
        device: torch's default device for the module's own new tensors.

    Raises:
        InvalidInputError: it is no torch module or has no trainable parameter.
        UnsupportedModelError: a parameter is complex, has no memory (meta device) or no shape yet; the module is
            compiled, scripted or wrapped for several devices.
        NumericalError: a parameter holds NaN or infinity, or changes while it is copied.
    """
    if not isinstance(module, nn.Module):
        raise InvalidInputError(f"the model is a {type(module).__name__}, not a torch.nn.Module")
    if output is not None and not callable(output):
        raise InvalidInputError(
            f"output={output!r} is not a function", where="output", remedy="Give a function of what the model returns."
        )
    check_wrappers(module)
    aliases = _aliases(module)
    parameters = dict(module.named_parameters())
    trainable = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    for name, parameter in trainable.items():
        _check_parameter(name, parameter)
    if not trainable:
        raise InvalidInputError(
            "the model has no trainable parameter",
            where=type(module).__name__,
            remedy="Call requires_grad_(True) on the parameters to analyse.",
        )
    buffers = {name: _widened(buffer.detach().clone()) for name, buffer in module.named_buffers()}
    held, shared = _held(parameters, copied)
    leaves = {name: held[name].requires_grad_() for name in trainable}
    originals: list[tuple[Tensor, Tensor]] = [(parameters[name], tensor) for name, tensor in held.items()]
    originals += [(buffer, buffers[name]) for name, buffer in module.named_buffers()]
    half = next((p.dtype for p in trainable.values() if p.dtype in _HALF), None)
    if half is not None:
        _log.info("parameters of %s are computed with in float32, on copies", half)
    names = {name: aliases[name] for name in trainable}
    view = bind(module, {id(original): tensor for original, tensor in originals})
    return FunctionalModel(
        view,
        leaves,
        names,
        output or pick_output,
        tuple(originals),
        False,
        shared,
        half,
        0 if shared else _bytes(held.values()),
        device,
    )


def through_closures(model: FunctionalModel, inputs: Inputs) -> FunctionalModel:
    """The same view, with stand-ins also in calls of torch where the module reaches its parameters through closures.

    Raises:
        UnsupportedModelError: parameters are reached in a way that cannot be redirected.
    """
    leaks = _leaks(model, inputs)
    if leaks is False:
        return model
    redirected = dataclasses.replace(model, redirected=True)
    still = _leaks(redirected, inputs)
    if still:
        raise UnsupportedModelError(
            "a parameter is used through a reference from outside the module's own structure, by an operation that "
            "cannot be watched",
            where=type(model.module).__name__,
            remedy="Hold the parameter, or the module it belongs to, as an attribute of the module that uses it.",
        )
    return model if still is None else redirected


def _leaks(model: FunctionalModel, inputs: Inputs) -> bool | None:
    """Whether the outputs depend on a parameter of the user's module itself; None where the model cannot be called."""
    try:
        with torch.enable_grad():
            output = model({}, take(inputs, slice(0, 1)))
    except Exception:  # the pilots meet the same error, and say what it is about
        return None
    originals = {id(original) for original, _ in model.originals}
    return not originals.isdisjoint(leaves_of(output))


def _aliases(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """First name -> every name of each parameter."""
    first: dict[int, str] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        aliases[known] = (*aliases.get(known, ()), name)
    return aliases


def _held(parameters: Mapping[str, Tensor], copied: int) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, int]]]:
    """Detached stand-ins of the parameters, and those that share memory with the user's, with their versions."""
    if _bytes(parameters.values()) <= copied:
        return _snapshot(parameters), {}
    held = {name: _widened(parameter.detach()) for name, parameter in parameters.items()}
    sharing = {name: p for name, p in parameters.items() if not p.is_inference() and p.dtype not in _HALF}
    held |= {name: p.detach().clone() for name, p in parameters.items() if p.is_inference()}
    return held, {name: (parameter, parameter._version) for name, parameter in sharing.items()}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _snapshot(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of all parameters as they were at one moment.

    Raises:
        NumericalError: they changed during three attempts.
    """
    for _ in range(3):
        before = _versions(parameters.values())
        copies = {name: _widened(parameter.detach().clone()) for name, parameter in parameters.items()}
        same = all(torch.equal(_widened(p.detach()), copies[name]) for name, p in parameters.items() if not p.is_meta)
        if _versions(parameters.values()) == before and same:
            return copies
    raise NumericalError(
        "parameters changed during the call",
        where="model",
        remedy="Let training wait for the moment of the call, or analyse a copy of the model.",
    )


def _versions(parameters: Iterable[Tensor]) -> list[int]:
    return [0 if parameter.is_inference() else parameter._version for parameter in parameters]


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in _HALF else tensor


def pick_output(returned: Any) -> Any:
    """The output tensor in what a module returns: itself, the first of a tuple, or a record's `logits`."""
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, Mapping) and "logits" in returned:  # a Hugging Face output is a mapping
        return returned["logits"]
    if isinstance(returned, tuple | list) and returned and not hasattr(returned, "logits"):
        return returned[0]
    return getattr(returned, "logits", returned)


def checked_output(picked: Any) -> Tensor:
    """The outputs (N, C) or (N,), as real floating-point numbers.

    Raises:
        InvalidInputError: they are something else.
    """
    remedy = "Pass output=, a function from what the model returns to the (N, C) tensor to analyse."
    if not isinstance(picked, Tensor):
        raise InvalidInputError(f"the model's output is a {type(picked).__name__}", where="output", remedy=remedy)
    if picked.ndim > 2:
        raise InvalidInputError(
            f"the model's output has shape {tuple(picked.shape)}, not (N, C)",
            where="output",
            remedy=f"{remedy} For all entries: output=lambda y: y.flatten(1).",
        )
    if not picked.dtype.is_floating_point:
        raise InvalidInputError(
            f"the model's output holds {picked.dtype} numbers, which have no derivative", where="output", remedy=remedy
        )
    return _widened(picked)


def as_inputs(inputs: Any, like: Tensor, name: str = "inputs") -> Inputs:
    """A user's inputs as tensors: arrays and nested lists too, half-precision numbers widened to float32.

    Args:
        inputs: a tensor, an array, a list of numbers, or a tuple, list or mapping of such.
        like: a parameter of the model: arrays and lists of real numbers take its dtype and device.
        name: of the argument, for messages.

    Raises:
        InvalidInputError: something in it is no array of numbers.
    """
    if isinstance(inputs, Mapping):
        return {str(key): _as_tensor(value, like, f"{name}[{key!r}]") for key, value in inputs.items()}
    if isinstance(inputs, tuple) or (isinstance(inputs, list) and any(isinstance(i, Tensor) for i in inputs)):
        return tuple(_as_tensor(value, like, f"{name}[{i}]") for i, value in enumerate(inputs))
    return _as_tensor(inputs, like, name)


def _as_tensor(value: Any, like: Tensor, name: str) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value.detach()
        return _widened(tensor.clone() if tensor.is_inference() else tensor)
    try:
        array = np.asarray(value)
        tensor = torch.as_tensor(array if array.flags.writeable else array.copy(), device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"a {type(value).__name__} is no array of numbers",
            where=name,
            remedy="Give a tensor, an array, or a tuple or a dict of them, with the batch axis first.",
        ) from error
    return tensor.to(like.dtype) if tensor.is_floating_point() else tensor


def batch_size(inputs: Inputs) -> int:
    """The length N of the batch axis, the first of every tensor in `inputs`.

    Raises:
        InvalidInputError: there is no tensor, the batch is empty, or the lengths differ.
    """
    tensors = list(_leaves(inputs))
    if not tensors or not all(isinstance(t, Tensor) and t.ndim > 0 for _, t in tensors):
        raise InvalidInputError(
            "inputs must be a tensor, a tuple of tensors or a dict of tensors, with the batch axis first",
            where="inputs",
        )
    lengths = {name: t.shape[0] for name, t in tensors}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"the batch axes have different lengths {lengths}", where="inputs")
    size = next(iter(lengths.values()))
    if size == 0 or any(t.numel() == 0 for _, t in tensors):
        raise InvalidInputError("the inputs are empty", where="inputs", remedy="Give at least one example.")
    return size


def take(inputs: Inputs, rows: Tensor | slice) -> Inputs:
    """The examples `rows` of a batch."""
    return map_inputs(lambda tensor: tensor[rows], inputs)


def at_least_two(inputs: Inputs) -> Inputs:
    """The batch, a single example twice: models may treat a batch of one in another way."""
    return take(inputs, torch.tensor([0, 0])) if batch_size(inputs) == 1 else inputs


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply a function to every tensor of a batch."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def concatenate(first: Inputs, second: Inputs) -> Inputs:
    """Two batches as one, the second's examples behind the first's.

    Raises:
        InvalidInputError: they differ in structure, dtype or in the shape of an example.
    """
    a, b = dict(_leaves(first)), dict(_leaves(second))
    like_a = {name: (t.shape[1:], t.dtype, t.device) for name, t in a.items()}
    like_b = {name: (t.shape[1:], t.dtype, t.device) for name, t in b.items()}
    if type(first) is not type(second) or like_a != like_b:
        raise InvalidInputError(
            f"inputs2 differs from inputs in structure, shape, dtype or device: {like_a} against {like_b}",
            where="inputs2",
            remedy="Pad both to one shape and give them one dtype and device.",
        )
    joined = {name: torch.cat([a[name], b[name]]) for name in a}
    if isinstance(first, Tensor):
        return joined["inputs"]
    return joined if isinstance(first, dict) else tuple(joined.values())


def _leaves(inputs: Inputs) -> list[tuple[str, Tensor]]:
    if isinstance(inputs, dict):
        return list(inputs.items())
    if isinstance(inputs, tuple):
        return [(f"inputs[{i}]", tensor) for i, tensor in enumerate(inputs)]
    return [("inputs", inputs)]


def _as_call(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _check_parameter(name: str, parameter: Tensor) -> None:
    if parameter.is_meta:
        raise UnsupportedModelError(
            "the parameter has no values (meta device)", where=name, remedy="Load the weights before the analysis."
        )
    if parameter.is_complex():
        raise UnsupportedModelError(
            "the parameter is complex; kernels are defined here for real parameters",
            where=name,
            remedy="Hold real and imaginary part as two real parameters, or freeze it with requires_grad_(False).",
        )
    if not bool(torch.isfinite(parameter).all()):
        raise NumericalError(
            "the parameter holds NaN or infinity", where=name, remedy="Load a checkpoint from before it diverged."
        )
