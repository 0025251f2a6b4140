"""The two factors of a parameter's gradient, in one canonical form for every kind of use.

For a use y = x V (see rules.py), the gradient of the output direction r of example n with respect to V is

    dV[h, a, b] = sum over t of  left[n, t, h, a] * right[r, n, t, h, b]

with left = x and right = dL_r/dy, where a runs over the axes of V that x alone has, b over those that y alone has,
h over those that both have (the heads of a batched product, the channels of a scale) and t over the positions of
the example at which V is used.
"""

from dataclasses import dataclass, replace
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.kernels.tracing.layouts import Layout
from tangentlens.kernels.tracing.rules import Labels, Use

_DIRECTIONS = -(10**9)  # label of the axis of output directions, unlike any label that a rule gives


@dataclass(frozen=True)
class Axes:
    """Which axes of V (in its canonical order) each factor spans; axes of length one are left out."""

    shared: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]


@dataclass(frozen=True)
class Extents:
    """Lengths of the axes of a use's factors (left is 1 for one-hot codes), and of V as a whole."""

    positions: int
    shared: int
    left: int
    right: int
    value: int


@dataclass(frozen=True)
class Factors:
    """The factors of one use, for a batch of examples and a set of output directions.

    Attributes:
        left: (N, T, H, A) floating, or (N, T) integer: indices of the one-hot codes that stand for it.
        right: (R, N, T, H, B).
        axes: the axes of V behind H, A and B.
        one_hot: A where `left` holds indices, else None.
        value_sizes: lengths of the canonical axes of V, for materialising dV.
        positions: which positions of each example these are, where some were left out; None where all are there.
    """

    left: Float[Tensor, "N T H A"] | Int[Tensor, "N T"]
    right: Float[Tensor, "R N T H B"]
    axes: Axes
    one_hot: int | None
    value_sizes: tuple[int, ...]
    positions: Int[Tensor, "N T"] | None = None

    @property
    def extents(self) -> Extents:
        """What the cost of working with these factors depends on."""
        _, _, positions, shared, right = self.right.shape
        left = 1 if self.one_hot is not None else self.left.shape[-1]
        return Extents(positions, shared, left, right, prod(self.value_sizes))

    def rows(self, rows: slice) -> "Factors":
        """The same factors for some of the examples."""
        positions = None if self.positions is None else self.positions[rows]
        return replace(self, left=self.left[rows], right=self.right[:, rows], positions=positions)


@dataclass(frozen=True)
class _Roles:
    """The labels of a use by their role in its factors."""

    examples: int
    positions: Labels
    shared: Labels
    left: Labels
    right: Labels
    free: Labels


def canonical_order(value: Tensor) -> tuple[int, ...]:
    """Axes of V from the largest stride to the smallest, so that V and its transposes agree on their order."""
    return tuple(sorted(range(value.ndim), key=value.stride, reverse=True))


def factors_of(use: Use, gradient: Float[Tensor, "R ..."], layout: Layout, examples: int) -> Factors:
    """Factors of a use in canonical form, from the gradients of its result.

    Args:
        use: the recorded use.
        gradient: (R, *shape of y).
        layout: where the examples are in y.
        examples: N.
    """
    output_shape = use.output_shape or gradient.shape[1:]
    right = gradient.reshape(gradient.shape[0], *output_shape) * use.scale
    operand, operand_labels, output_labels = use.operand, use.operand_labels, use.output_labels
    batch = output_labels[layout.axis]
    if use.present is not None:
        mask = _aligned(use.present.to(right.dtype), operand_labels, output_labels)
        right = right * mask
    if layout.per_example > 1:
        fresh = max(*output_labels, *use.value_labels, *operand_labels) + 1
        right, output_labels = _split(right, (_DIRECTIONS, *output_labels), batch, fresh, layout, examples)
        output_labels = output_labels[1:]
        if operand is not None and batch in operand_labels:
            operand, operand_labels = _split(operand, operand_labels, batch, fresh, layout, examples)
    roles = _roles(use, operand_labels, output_labels, batch)
    right = _arrange_right(right, output_labels, roles, use)
    left = _arrange_left(operand, operand_labels, roles, use, examples, right)
    order = {axis: place for place, axis in enumerate(canonical_order(use.value))}
    axis_of = {label: order[axis] for axis, label in enumerate(use.value_labels) if use.value.shape[axis] > 1}
    axes = Axes(
        *(
            tuple(axis_of[a] for a in labels if a in axis_of)
            for labels in (roles.shared, roles.left, (*roles.right, *roles.free))
        )
    )
    one_hot = None if use.one_hot is None else use.value.shape[use.value_labels.index(use.one_hot)]
    sizes = tuple(use.value.shape[axis] for axis in canonical_order(use.value))
    return Factors(left, right, axes, one_hot, sizes)


def _roles(use: Use, operand_labels: Labels, output_labels: Labels, batch: int) -> _Roles:
    in_operand = {*operand_labels, *(() if use.one_hot is None else (use.one_hot,))}
    in_output = set(output_labels)

    def of_value(operand: bool, output: bool) -> Labels:
        """Axes of V that the operand and the output have, or not."""
        return tuple(a for a in use.value_labels if (a in in_operand, a in in_output) == (operand, output))

    beside_value = in_operand - {*use.value_labels, batch}
    return _Roles(
        examples=batch,
        positions=tuple(a for a in output_labels if a in beside_value),
        shared=of_value(operand=True, output=True),
        left=of_value(operand=True, output=False),
        right=of_value(operand=False, output=True),
        free=of_value(operand=False, output=False),
    )


def _arrange_right(right: Tensor, labels: Labels, roles: _Roles, use: Use) -> Float[Tensor, "R N T H B"]:
    """Sum over the axes that V and x lack, repeat over those that V alone has, flatten the rest by role."""
    named = (_DIRECTIONS, *labels)
    kept = (_DIRECTIONS, roles.examples, *roles.positions, *roles.shared, *roles.right)
    summed = [axis for axis, label in enumerate(named) if label not in kept]
    if summed:
        right = right.sum(dim=summed)
    present = [label for label in named if label in kept]
    right = right.permute([present.index(label) for label in kept])
    sizes = dict(zip(kept, right.shape, strict=True))
    free = prod(use.value.shape[use.value_labels.index(a)] for a in roles.free)
    flat = right.reshape(
        right.shape[0],
        right.shape[1],
        *(prod(sizes[a] for a in group) for group in (roles.positions, roles.shared)),
        prod(sizes[a] for a in roles.right),
    )
    return flat.repeat_interleave(free, dim=-1) if free > 1 else flat


def _arrange_left(
    operand: Tensor | None, labels: Labels, roles: _Roles, use: Use, examples: int, right: Tensor
) -> Tensor:
    if operand is None:
        return right.new_ones(1, 1, 1, 1).expand(examples, right.shape[2], right.shape[3], 1)
    kept = (roles.examples, *roles.positions, *roles.shared, *roles.left)
    summed = [axis for axis, label in enumerate(labels) if label not in kept]
    if summed:
        operand = operand.sum(dim=summed)
        labels = tuple(label for label in labels if label in kept)
    if roles.examples not in labels:
        operand, labels = operand.expand(examples, *operand.shape), (roles.examples, *labels)
    if use.one_hot is not None:
        order = [labels.index(a) for a in (roles.examples, *roles.positions)]
        return operand.permute(order).reshape(examples, -1)
    operand = operand.to(right.dtype).permute([labels.index(a) for a in kept])
    sizes = dict(zip(kept, operand.shape, strict=True))
    return operand.reshape(
        examples, *(prod(sizes[a] for a in group) for group in (roles.positions, roles.shared, roles.left))
    )


def _split(
    tensor: Tensor, labels: Labels, batch: int, fresh: int, layout: Layout, examples: int
) -> tuple[Tensor, Labels]:
    """Split a merged batch axis into the examples and the positions around them, labelled fresh and fresh + 1."""
    axis = labels.index(batch)
    split = tensor.unflatten(axis, (layout.outer, examples, layout.inner))
    return split, (*labels[:axis], fresh, batch, fresh + 1, *labels[axis + 1 :])


def _aligned(tensor: Tensor, labels: Labels, output_labels: Labels) -> Tensor:
    """View a tensor so that it broadcasts against (R, *output axes)."""
    order = [labels.index(a) for a in output_labels if a in labels]
    shape = [1, *(tensor.shape[labels.index(a)] if a in labels else 1 for a in output_labels)]
    return tensor.permute(order).reshape(shape)


def materialise(factors: Factors) -> Float[Tensor, "N R ..."]:
    """dV itself: (N, R, *canonical axes of V); allocates N * R * size of V numbers."""
    left = factors.left
    if factors.one_hot is not None:
        left = torch.nn.functional.one_hot(left, factors.one_hot).to(factors.right.dtype)[:, :, None, :]
    gradient = torch.einsum("ntha,rnthb->nrhab", left, factors.right)
    return _unflatten(gradient, factors)


def materialise_sum(factors: Factors) -> Float[Tensor, "..."]:
    """dV summed over examples and directions, in canonical axes; allocates one V."""
    if factors.one_hot is not None:
        rows = factors.right.sum(0).flatten(0, 1)[:, 0]  # (N T, B)
        gradient = rows.new_zeros(factors.one_hot, rows.shape[1]).index_add_(0, factors.left.flatten(), rows)[None]
    else:
        gradient = torch.einsum("ntha,nthb->hab", factors.left, factors.right.sum(0))
    return _unflatten(gradient[None, None], factors)[0, 0]


def _unflatten(gradient: Float[Tensor, "N R H A B"], factors: Factors) -> Float[Tensor, "N R ..."]:
    """From (N, R, H, A, B) to the canonical axes of V."""
    factored = (*factors.axes.shared, *factors.axes.left, *factors.axes.right)
    sizes = [factors.value_sizes[axis] for axis in factored]
    spread = gradient.reshape(*gradient.shape[:2], *sizes)
    order = sorted(range(len(factored)), key=lambda place: factored[place])
    ordered = spread.permute(0, 1, *(2 + place for place in order))
    return ordered.reshape(*gradient.shape[:2], *factors.value_sizes)
