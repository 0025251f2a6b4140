"""Parameters of a module: their names, checks, and detached stand-ins."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, NumericalError, UnsupportedModelError
from tangentlens.models.half_precision import HALF, widened


def aliases_of(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """First name -> every name of each parameter."""
    first: dict[int, str] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        aliases[known] = (*aliases.get(known, ()), name)
    return aliases


def stand_ins(parameters: Mapping[str, Tensor], copied: int) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, int]]]:
    """Detached stand-ins of the parameters, and those that share memory with the user's, with their versions."""
    if bytes_of(parameters.values()) <= copied:
        return _snapshot(parameters), {}
    held = {name: widened(parameter.detach()) for name, parameter in parameters.items()}
    sharing = {name: p for name, p in parameters.items() if not p.is_inference() and p.dtype not in HALF}
    held |= {name: p.detach().clone() for name, p in parameters.items() if p.is_inference()}
    return held, {name: (parameter, parameter._version) for name, parameter in sharing.items()}


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Memory of the tensors' entries."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _snapshot(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of all parameters as they were at one moment.

    Raises:
        NumericalError: they changed during three attempts.
    """
    for _ in range(3):
        before = _versions(parameters.values())
        copies = {name: widened(parameter.detach().clone()) for name, parameter in parameters.items()}
        same = all(torch.equal(widened(p.detach()), copies[name]) for name, p in parameters.items() if not p.is_meta)
        if _versions(parameters.values()) == before and same:
            return copies
    raise NumericalError(
        "parameters changed during the call",
        where="model",
        remedy="Let training wait for the moment of the call, or analyse a copy of the model.",
    )


def _versions(parameters: Iterable[Tensor]) -> list[int]:
    return [0 if parameter.is_inference() else parameter._version for parameter in parameters]


def trainable_parameters(module: nn.Module) -> dict[str, Tensor]:
    """First name -> parameter, of those that require a gradient.

    Raises:
        InvalidInputError: there is none.
        UnsupportedModelError: one is complex or has no memory.
        NumericalError: one holds NaN or infinity.
    """
    trainable: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    for name, parameter in trainable.items():
        _check_parameter(name, parameter)
    if not trainable:
        raise InvalidInputError(
            "the model has no trainable parameter",
            where=type(module).__name__,
            remedy="Call requires_grad_(True) on the parameters to analyse.",
        )
    return trainable


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
