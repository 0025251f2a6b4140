"""How a function of torch uses a tensor that depends on parameters alone.

A *use* is a call whose result depends on the example and is affine in such a tensor V:

    y[out] = sum over the labels of V and x that are missing in `out` of  scale * x[in] * V[val]  +  terms without V

with labels as in einsum. Then dL/dV[val] = sum scale * x[in] * (dL/dy)[out], summed over every label not in `val`,
which is all that a kernel needs: no gradient of V is formed to know it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """One affine use of a parametric tensor.

    Attributes:
        value: V, the tensor that depends on parameters alone.
        value_labels: a label for each axis of V.
        operand: x, what V is multiplied by; None stands for the number 1. With `one_hot`, an integer tensor of
            indices into the axis of V with the label `one_hot` (a gather: x is the one-hot code of the indices).
        operand_labels: a label for each axis of x.
        output_labels: a label for each axis of y.
        scale: constant factor.
        one_hot: label of the gathered axis of V, None for a dense operand.
        present: with `one_hot`, a mask like the indices; False where no gradient flows (padding_idx).
        output_shape: shape of y with an axis for each of `output_labels`, where it differs from what the call
            returned (a channel axis split by group).
    """

    value: Tensor
    value_labels: Labels
    operand: Tensor | None
    operand_labels: Labels
    output_labels: Labels
    scale: float = 1.0
    one_hot: int | None = None
    present: Tensor | None = None
    output_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Call:
    """A call of a torch function that involves parametric tensors.

    Attributes:
        args, kwargs: as the user's code gave them; where an operand is overwritten, its value from before.
        result: what it returned.
        is_parametric: whether an argument is a tensor that depends on parameters alone.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor
    is_parametric: Callable[[Any], bool]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """The argument at a position or by its name; the first operand is called `input` where it has a name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def first(self) -> Any:
        """The first operand."""
        return self.argument(0, "input")


def is_plain(call: Call) -> bool:
    """Whether all tensors of a call are real and strided: the formula for a use's gradient holds for no others."""
    values = [item for value in (*call.args, *call.kwargs.values(), call.result) for item in _flat(value)]
    return all(not t.is_complex() and t.layout == torch.strided for t in values if isinstance(t, Tensor))


def _flat(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)


# the uses of every parametric argument of a call; None where the call is not affine in one of them
Rule = Callable[[Call], list[Use] | None]


def product_uses(
    call: Call, operands: Sequence[Tensor], labels: Sequence[Labels], out: Labels, scale: float = 1.0
) -> list[Use] | None:
    """Uses of an einsum of operands, for each parametric one; the others are multiplied together first."""
    if any(len(set(axes)) < len(axes) for axes in [*labels, out]):
        return None  # a diagonal
    uses = []
    for i, value in enumerate(operands):
        if not call.is_parametric(value):
            continue
        others = [(operands[j], labels[j]) for j in range(len(operands)) if j != i]
        operand, kept = _multiplied(others, {*labels[i], *out})
        uses.append(Use(value, labels[i], operand, kept, out, scale))
    return uses


def _multiplied(operands: Sequence[tuple[Tensor, Labels]], needed: set[int]) -> tuple[Tensor | None, Labels]:
    """The product of operands, summed over labels that are not needed."""
    if not operands:
        return None, ()
    if len(operands) == 1:
        return operands[0]
    kept = tuple(dict.fromkeys(a for _, axes in operands for a in axes if a in needed))
    letters = {a: i for i, a in enumerate(dict.fromkeys(a for _, axes in operands for a in axes))}
    arguments = [item for tensor, axes in operands for item in (tensor.detach(), [letters[a] for a in axes])]
    product: Tensor = torch.einsum(*arguments, [letters[a] for a in kept])
    return product, kept


def broadcast_labels(shapes: Sequence[torch.Size]) -> tuple[list[Labels], Labels]:
    """Labels for operands of an elementwise call: an axis of length one may be broadcast, so it has its own label."""
    ndim = max(len(shape) for shape in shapes)
    fresh = count(ndim)
    labels = [
        tuple(next(fresh) if size == 1 else ndim - len(shape) + axis for axis, size in enumerate(shape))
        for shape in shapes
    ]
    return labels, tuple(range(ndim))
