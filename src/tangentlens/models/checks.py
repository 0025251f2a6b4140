"""Refuse what would be silently wrong: randomness, statistics over the batch, outputs that are not numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tangentlens.errors import NumericalError, UnsupportedModelError
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs

_DROPOUTS = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase)


def check_modes(module: nn.Module) -> None:
    """No dropout and no batch statistics may be active.

    Raises:
        UnsupportedModelError: a layer is in training mode; names it.
    """
    remedy = "Call model.eval() before the analysis, or freeze that layer's statistics."
    for name, layer in module.named_modules():
        if isinstance(layer, _DROPOUTS) and layer.training and _dropout_rate(layer) > 0:
            raise UnsupportedModelError(
                f"the {type(layer).__name__} layer {name!r} drops units at random in training mode", remedy=remedy
            )
        if isinstance(layer, _NormBase) and (layer.training or layer.running_mean is None):
            mixes = isinstance(layer, nn.modules.batchnorm._BatchNorm)
            if mixes or layer.track_running_stats:
                raise UnsupportedModelError(
                    f"the {type(layer).__name__} layer {name!r} takes its statistics from the batch", remedy=remedy
                )


def _dropout_rate(layer: nn.Module) -> float:
    return float(layer.p if isinstance(layer, nn.modules.dropout._DropoutNd) else layer.dropout)  # type: ignore[arg-type]


def check_deterministic(model: FunctionalModel, inputs: Inputs, first: Tensor, second: Tensor) -> None:
    """Two forward passes on the same examples must agree.

    Raises:
        UnsupportedModelError: they differ; names the first module whose result differs.
    """
    if _agree(first, second):
        return
    raise UnsupportedModelError(
        "the model gives other outputs on the same inputs when it is called again",
        where=_first_difference(model, inputs, inputs),
        remedy="Remove its randomness (dropout, sampling) or its state, for example with model.eval().",
    )


@dataclass(frozen=True)
class Ran:
    """One forward pass: the inputs, the outputs (n, C), and which row of the user's batch each example is."""

    inputs: Inputs
    outputs: Tensor
    rows: tuple[int, ...]


def check_independent(model: FunctionalModel, passes: Sequence[Ran]) -> None:
    """The outputs of an example may not depend on its place in the batch nor on the other examples.

    Args:
        passes: over batches that have examples in common, among others and at other places.

    Raises:
        UnsupportedModelError: they do; names the first module whose result differs.
    """
    known: dict[int, tuple[int, int]] = {}  # row -> a pass and a place in it
    for number, ran in enumerate(passes):
        if ran.outputs.ndim != 2 or len(ran.outputs) != len(ran.rows):
            raise _influence(f"its output has shape {tuple(ran.outputs.shape)} for {len(ran.rows)} examples")
        scale = float(ran.outputs.detach().abs().max())
        for place, row in enumerate(ran.rows):
            other, there = known.setdefault(row, (number, place))
            difference = ran.outputs[place] - passes[other].outputs[there]
            if not float(difference.detach().abs().max()) <= agreement(difference.dtype) * max(scale, 1e-30):
                raise _influence(_first_influenced(model, passes[other], ran, there, place))


def _influence(where: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "the outputs of an example change with the other examples of the batch, so a kernel between examples is "
        "not defined",
        where=where,
        remedy="Look for batch statistics, an operation along axis 0 (a mean, a shift, attention with batch_first "
        "forgotten) or an output without the batch axis first.",
    )


def _first_influenced(model: FunctionalModel, one: Ran, other: Ran, here: int, there: int) -> str:
    """The first module whose result for one example differs between two passes."""
    for (name, a), (_, b) in zip(_results(model, one.inputs), _results(model, other.inputs), strict=False):
        batch_first = len(a) == len(one.rows) and len(b) == len(other.rows)
        if batch_first and not _agree(a[here], b[there]):
            return name
    return type(model.module).__name__


def check_finite(model: FunctionalModel, inputs: Inputs, outputs: Tensor) -> None:
    """The outputs must be finite.

    Raises:
        NumericalError: they hold NaN or infinity; names the first module whose result does.
    """
    if bool(torch.isfinite(outputs).all()):
        return
    place = next((n for n, result in _results(model, inputs) if not bool(torch.isfinite(result).all())), "")
    raise NumericalError(
        "the model's outputs hold NaN or infinity", where=place, remedy="Check the inputs and the weights there."
    )


def agreement(dtype: torch.dtype) -> float:
    """Relative difference up to which two passes agree; some layers round to float32 inside a float64 model."""
    return 1e-6 if dtype == torch.float64 else 1e-4


def _agree(a: Tensor, b: Tensor) -> bool:
    tolerance = agreement(a.dtype)
    scale = float(a.detach().abs().max()) if a.numel() else 0.0
    return a.shape == b.shape and float((a - b).detach().abs().max()) <= tolerance * max(scale, 1e-30)


def _first_difference(model: FunctionalModel, first: Inputs, second: Inputs) -> str:
    for (name, a), (_, b) in zip(_results(model, first), _results(model, second), strict=False):
        if not _agree(a, b[: a.shape[0]]):
            return name
    return type(model.module).__name__


def _results(model: FunctionalModel, inputs: Inputs) -> list[tuple[str, Tensor]]:
    """(module name, floating tensor that it returned) in the order of execution; the hooks are removed again."""
    found: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, result: Any) -> None:
            if isinstance(result, Tensor) and result.is_floating_point() and result.ndim:
                found.append((name, result.detach()))

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in model.module.named_modules() if name]
    try:
        with torch.no_grad():
            model({}, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found
