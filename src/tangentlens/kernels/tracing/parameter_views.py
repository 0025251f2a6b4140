"""Parametric tensors between a parameter and its uses: which parameter each depends on, and the way back to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from tangentlens.kernels.differentiation import vectorised_grad
from tangentlens.kernels.factored.factors import canonical_order
from tangentlens.kernels.tracing.recording import RecordedUse

_MOVES = {
    "torch::autograd::AccumulateGrad",
    *(
        f"{name}Backward"
        for name in (
            *("View", "UnsafeView", "ReshapeAlias", "Transpose", "T", "Permute", "Slice", "Select", "Unsqueeze"),
            *("Squeeze", "ToCopy", "Clone", "Cat", "Stack", "Split", "SplitWithSizes", "Unbind", "Alias", "AsStrided"),
            *(
                "Add",
                "Sub",
                "Rsub",
                "Neg",
                "Flip",
                "Index",
                "IndexSelect",
                "Gather",
                "Diagonal",
                "Expand",
                "Unfold",
                "Roll",
            ),
        )
    ),
}


@dataclass(frozen=True)
class ParameterView:
    """Uses of one parametric tensor V (or of transposes of it): their gradients add up in one set of axes.

    Attributes:
        value: V in the pilot's graph, for pulling back.
        uses: indices into the sequence of recorded uses.
    """

    value: Tensor
    uses: tuple[int, ...]


@final
class Owners:
    """Names of the parameters that a parametric tensor depends on, found once for each tensor."""

    def __init__(self, trainable: Mapping[str, Tensor]) -> None:
        self._trainable = trainable
        self._found: dict[int, frozenset[str]] = {id(p): frozenset({name}) for name, p in trainable.items()}

    def of(self, value: Tensor) -> frozenset[str]:
        """First names of the parameters."""
        if id(value) not in self._found:
            gradients = torch.autograd.grad(
                value, list(self._trainable.values()), torch.ones_like(value), retain_graph=True, allow_unused=True
            )
            names = (name for name, g in zip(self._trainable, gradients, strict=True) if g is not None)
            self._found[id(value)] = frozenset(names)
        return self._found[id(value)]


def views_of(name: str, parameter: Tensor, uses: Sequence[RecordedUse], owners: Owners) -> tuple[ParameterView, ...]:
    """The uses of one parameter, those of equal parametric tensors together."""
    members: dict[object, list[int]] = {}
    for index, recorded in enumerate(uses):
        if name in owners.of(recorded.use.value):
            members.setdefault(_identity(recorded.use.value, parameter), []).append(index)
    return tuple(ParameterView(uses[indices[0]].use.value, tuple(indices)) for indices in members.values())


def _identity(value: Tensor, parameter: Tensor) -> object:
    """Equal for V and for other views of the parameter that hold the same entries in the same canonical order."""
    if value.dtype == parameter.dtype and value.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr():
        order = canonical_order(value)
        spans = [(value.shape[axis], value.stride(axis)) for axis in order if value.shape[axis] > 1]
        return (value.storage_offset(), *spans)
    return id(value)


def isometric(parameter: Tensor, views: Sequence[ParameterView]) -> bool:
    """Whether the gradients' inner products in the axes of the Vs are those in the axes of the parameter.

    Only where V is linear in the parameter with fixed coefficients, so that the values of the entries decide nothing.
    With D_a = dV_a / dP this asks for D_a D_a^T = identity, tested by the norm of the image of a random vector, and
    for D_a D_b^T = 0, granted where the images of random vectors have no entry in common.
    """
    if len(views) == 1 and views[0].value is parameter:
        return True
    if not all(_moves_entries(view.value) for view in views):
        return False
    generator = torch.Generator().manual_seed(1)
    covered = torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device)
    for view in views:
        direction = torch.randn(view.value.shape, generator=generator, dtype=torch.float64).to(view.value)
        (image,) = torch.autograd.grad(view.value, parameter, direction, retain_graph=True)
        tolerance = 1e-11 if image.dtype == direction.dtype == torch.float64 else 1e-6
        if not math.isclose(float(image.double().norm()), float(direction.double().norm()), rel_tol=tolerance):
            return False
        if bool((covered & (image != 0)).any()):
            return False
        covered |= image != 0
    return True


def _moves_entries(value: Tensor) -> bool:
    """Whether the operations between a parameter and V move, copy, cast, negate and add entries, and nothing else."""
    waiting, seen = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().removesuffix("0").removesuffix("1").removesuffix("2") not in _MOVES:
            return False
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return True


def pull_back(value: Tensor, parameter: Tensor, gradient: Tensor) -> Tensor:
    """Gradient in the parameter of <V, G>, with G in the canonical axes of V."""
    order = canonical_order(value)
    aligned = gradient.permute([order.index(axis) for axis in range(value.ndim)])
    if value is parameter:
        return aligned
    return torch.autograd.grad(value, parameter, aligned.to(value.dtype), retain_graph=True)[0]


def pull_back_rows(view: ParameterView, parameter: Tensor, gradients: Tensor) -> Tensor:
    """Pull (rows, *canonical axes of V) back to (rows, size of the parameter)."""
    order = canonical_order(view.value)
    aligned = gradients.permute(0, *(1 + order.index(axis) for axis in range(view.value.ndim)))
    if view.value is parameter:
        return aligned.reshape(len(aligned), -1)
    (pulled,) = vectorised_grad([view.value], [parameter], [aligned.to(view.value.dtype)])
    if pulled is None:
        return gradients.new_zeros(gradients.shape[0], parameter.numel())
    return pulled.reshape(len(pulled), -1)
