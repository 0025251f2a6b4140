"""Where the examples of a batch are in the result of a call: candidates, and the proof that leaves one of them.

One axis of the result grows with the batch. Where positions are merged into it, its entry (a * N + n) * B + b belongs
to example n, for a < A and b < B: A = 1 is a batch-major merge, B = 1 a position-major one, both above 1 an axis
between two others. A candidate (A, B) is accepted where, at two batch sizes, the gradient of every example's outputs
vanishes on the entries of all other examples, and the values of an example's entries do not depend on the batch that
it is part of. Where none or several are left there is no layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the examples are in the result of a call.

    Attributes:
        axis: the axis of y that holds the batch.
        outer, inner: entry (a * N + n) * inner + b of that axis, a < outer and b < inner, belongs to example n.
    """

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def per_example(self) -> int:
        """Entries of the axis for each example."""
        return self.outer * self.inner

    def by_example(self, tensor: Tensor, examples: int) -> Tensor:
        """View y, or what has its shape, as (examples, ...)."""
        split: Tensor = tensor.unflatten(self.axis, (self.outer, examples, self.inner))
        return split.movedim(self.axis + 1, 0)


@dataclass(frozen=True)
class Evidence:
    """What one pilot batch shows about a call's result y.

    Attributes:
        examples: in the batch.
        result: y, detached.
        support: (examples, length of the axis that grows) whether the gradient of an example's outputs reaches there.
        shared: whether some entry of y is reached from the outputs of two examples.
    """

    examples: int
    result: Tensor
    support: Bool[Tensor, "examples length"]
    shared: bool


def growing_axis(few: torch.Size, more: torch.Size, sizes: tuple[int, int]) -> int | None:
    """The only axis that differs between batches of two sizes, and grows as the batch does; else None."""
    if len(few) != len(more):
        return None
    grown = [axis for axis, (a, b) in enumerate(zip(few, more, strict=True)) if a != b]
    if len(grown) != 1 or few[grown[0]] % sizes[0] or few[grown[0]] * sizes[1] != more[grown[0]] * sizes[0]:
        return None
    return grown[0]


def candidates(axis: int, per_example: int) -> Iterator[Layout]:
    """Every way in which positions can be merged into an axis of examples."""
    for outer in range(1, per_example + 1):
        if per_example % outer == 0:
            yield Layout(axis, outer, per_example // outer)


def accepts(layout: Layout, evidence: Evidence) -> bool:
    """Whether each example's gradient stays on the entries that a layout gives to it."""
    by_example = evidence.support.unflatten(1, (layout.outer, evidence.examples, layout.inner))
    foreign = ~torch.eye(evidence.examples, dtype=torch.bool, device=by_example.device)[:, None, :, None]
    return not bool((by_example & foreign).any())


def prove_layout(
    axis: int, more: Evidence, few: Evidence, pairs: tuple[tuple[int, int], ...], tolerance: float
) -> Layout | None:
    """The one layout that both pilots accept; None where none or several are left.

    Args:
        axis: of y, from `growing_axis`.
        pairs: (place in `more`, place in `few`) of the examples that both pilots hold.
        tolerance: relative difference of values that rounding explains.
    """
    per_example = more.result.shape[axis] // more.examples
    left = [
        layout
        for layout in candidates(axis, per_example)
        if accepts(layout, more) and accepts(layout, few) and _same_values(layout, more, few, pairs, tolerance)
    ]
    return left[0] if len(left) == 1 else None


def _same_values(
    layout: Layout, more: Evidence, few: Evidence, pairs: tuple[tuple[int, int], ...], tolerance: float
) -> bool:
    large, small = layout.by_example(more.result, more.examples), layout.by_example(few.result, few.examples)
    here, there = (list(places) for places in zip(*pairs, strict=True))
    return close(large[here], small[there], tolerance)


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree to a tolerance relative to the largest finite entry."""
    finite = a[torch.isfinite(a)]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return torch.allclose(a, b, rtol=0.0, atol=tolerance * scale, equal_nan=True)
