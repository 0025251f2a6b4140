"""A torch module as a function of its parameters, on a private copy of its structure."""

import dataclasses
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, NumericalError, UnsupportedModelError
from tangentlens.models.binding import Substitution, bind, leaves_of
from tangentlens.models.half_precision import HALF, widened
from tangentlens.models.inputs import Inputs, as_call, batch_size, map_inputs, take
from tangentlens.models.outputs import PickOutput, checked_output, pick_output
from tangentlens.models.parameters import aliases_of, bytes_of, stand_ins, trainable_parameters
from tangentlens.models.wrappers import check_wrappers

_log = logging.getLogger(__name__)


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
        args, kwargs = as_call(map_inputs(torch.clone, inputs))  # the model may overwrite what it is given
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
    _check_arguments(module, output)
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    trainable = trainable_parameters(module)
    copies = {name: widened(buffer.detach().clone()) for name, buffer in buffers.items()}
    held, shared = stand_ins(parameters, copied)
    leaves = {name: held[name].requires_grad_() for name in trainable}
    originals: list[tuple[Tensor, Tensor]] = [(parameters[name], tensor) for name, tensor in held.items()]
    originals += [(buffer, copies[name]) for name, buffer in buffers.items()]
    half = next((p.dtype for p in trainable.values() if p.dtype in HALF), None)
    if half is not None:
        _log.info("parameters of %s are computed with in float32, on copies", half)
    aliases = aliases_of(module)
    return FunctionalModel(
        bind(module, {id(original): tensor for original, tensor in originals}),
        leaves,
        {name: aliases[name] for name in trainable},
        output or pick_output,
        tuple(originals),
        False,
        shared,
        half,
        0 if shared else bytes_of(held.values()),
        device,
    )


def _check_arguments(module: object, output: object) -> None:
    if not isinstance(module, nn.Module):
        raise InvalidInputError(f"the model is a {type(module).__name__}, not a torch.nn.Module")
    if output is not None and not callable(output):
        raise InvalidInputError(
            f"output={output!r} is not a function", where="output", remedy="Give a function of what the model returns."
        )
    check_wrappers(module)


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
