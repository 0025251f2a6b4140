"""Pilot batches: the calls of a model, the growth of their results with the batch, and each example's gradients.

Three forward passes: one that notes every call for 3 examples, one that records the uses of the parameters for 4, and
one that records them for the first 3 again. Two of the examples are in both batches, at other places and among others.
Two passes over a larger part of the batch, in order and reversed, look for influence between examples alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, TangentlensError, UnsupportedModelError
from tangentlens.kernels.budget import EXAMPLES
from tangentlens.kernels.tracing.call_sequence import FEW, MORE, check_length, following, growth
from tangentlens.kernels.tracing.layouts import Layout, growing_axis, prove_layout
from tangentlens.kernels.tracing.probing import Pilot, probe
from tangentlens.kernels.tracing.recording import (
    RecordedUse,
    Recording,
    record_calls,
    record_uses,
    watch_calls,
)
from tangentlens.kernels.tracing.witnesses import Witnesses
from tangentlens.models.checks import Ran, agreement, check_deterministic, check_finite, check_independent
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, at_least_two, batch_size, take

_LARGER = 16  # examples, and a twentieth of the batch, in the passes that look for influence alone


@dataclass(frozen=True)
class Pilots:
    """Both pilots, and what every call of the forward pass is.

    Attributes:
        more, few: of 4 and of 3 examples.
        calls: (function name, whether the result carries a batch axis) of every call.
        bytes_per_example: memory of all results of one example's forward pass.
        axes: for each use the axis of its result that grows with the batch, else None.
        cotangents: (4, C), c_n of the pilot `more`.
    """

    more: Pilot
    few: Pilot
    calls: tuple[tuple[str, bool], ...]
    bytes_per_example: int
    axes: tuple[int | None, ...]
    cotangents: Float[Tensor, "4 C"]

    @property
    def witnesses(self) -> Witnesses:
        """Outputs of every example of the pilots."""
        both = (self.few, self.more)
        return Witnesses({row: out for p in both for row, out in zip(p.rows, p.recording.output.detach(), strict=True)})

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(place in `more`, place in `few`) of the examples that both hold."""
        return tuple(
            (here, there)
            for there, row in enumerate(self.few.rows)
            for here, other in enumerate(self.more.rows)
            if row == other
        )


def pilot_rows(total: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows of the two pilots in a batch: 4 spread evenly; one between them, then two of the 4 in reverse order."""
    more = tuple(round(i * (total - 1) / (MORE - 1)) for i in range(MORE))
    between = next((row for row in range(more[1], total) if row not in more), more[-1])
    return more, (between, more[2], more[0])


def run_pilots(model: FunctionalModel, inputs: Inputs, budget: int) -> Pilots:
    """Record both pilots and check that their outputs are finite, repeatable and independent of each other.

    Raises:
        InvalidInputError: the model cannot be called on these inputs.
        NumericalError: an output is NaN or infinite.
        UnsupportedModelError: the outputs change when the model is called again, or with the other examples; the
            forward pass depends on the data or on the batch size.
    """
    rows, other_rows = pilot_rows(batch_size(inputs))
    few, more = take(inputs, torch.tensor(other_rows)), take(inputs, torch.tensor(rows))
    first = _first_call(model, few)
    check_finite(model, few, first.output)
    calls: list[tuple[str, bool]] = []
    large = record_uses(model, more, model.trainable, growth(first, calls), keep_results=True)
    check_length(first, calls)
    small = record_uses(model, few, model.trainable, following(calls), keep_results=True)
    check_finite(model, more, large.output)
    check_deterministic(model, few, first.output, small.output)
    passes = [Ran(more, large.output, rows), Ran(few, small.output, other_rows)]
    per_example = _results_bytes(first, large.output)
    check_independent(model, [*passes, *_larger(model, inputs, calls, budget // max(1, per_example))])
    axes = tuple(_axis(use, first) for use in large.uses)
    cotangents = _cotangents(large.output, rows, other_rows)
    return Pilots(
        probe(large, rows, cotangents[0], axes),
        probe(small, other_rows, cotangents[1], axes),
        tuple(calls),
        per_example,
        axes,
        cotangents[0],
    )


def _results_bytes(few: Recording, output: Tensor) -> int:
    """Memory of all results of one example's forward pass, an upper bound for its graph."""
    numbers = sum(math.prod(shape) for _, shapes in few.calls for shape in shapes)
    return numbers * output.element_size() // FEW


def _larger(model: FunctionalModel, inputs: Inputs, calls: Sequence[tuple[str, bool]], most: int) -> Iterator[Ran]:
    """Two passes over a larger part of the batch, `most` examples at most, the second in reverse order."""
    total = batch_size(inputs)
    count = max(EXAMPLES, min(total, _LARGER + total // 20, most))
    rows = tuple(dict.fromkeys(round(i * (total - 1) / max(1, count - 1)) for i in range(count)))
    for chosen in (rows, rows[::-1]):
        batch = at_least_two(take(inputs, torch.tensor(chosen)))
        with torch.no_grad():
            output, _ = watch_calls(model, {}, batch, following(calls))
            yield Ran(batch, output, chosen if len(chosen) > 1 else chosen * 2)


def layouts_of(pilots: Pilots) -> tuple[Layout | None, ...]:
    """The proven layout of every use; None where it cannot be proven.

    Raises:
        UnsupportedModelError: an entry of a use's result is reached from the outputs of two examples.
    """
    found: list[Layout | None] = []
    tolerance = agreement(pilots.more.recording.output.dtype)
    for use, axis, more, few in zip(
        pilots.more.recording.uses, pilots.axes, pilots.more.evidence, pilots.few.evidence, strict=True
    ):
        if axis is None or more is None or few is None:
            found.append(None)
            continue
        if more.shared or few.shared:
            raise UnsupportedModelError(
                f"the gradient of one example passes through the result of {use.name} for another, so a kernel "
                "between examples is not defined",
                where=use.place,
                remedy="Look for operations along the batch axis.",
            )
        found.append(prove_layout(axis, more, few, pilots.pairs, tolerance))
    return tuple(found)


def _first_call(model: FunctionalModel, inputs: Inputs) -> Recording:
    """The first call of the user's model: what goes wrong in it is about the inputs."""
    try:
        return record_calls(model, inputs)
    except TangentlensError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"the model cannot be called on these inputs: {type(error).__name__}: {error}",
            where=type(model.module).__name__,
            remedy="Give a tensor, a tuple or a dict of tensors with the batch axis first, in the dtype and on the "
            "device that model(*inputs) or model(**inputs) expects.",
        ) from error


def _axis(use: RecordedUse, few: Recording) -> int | None:
    shapes = few.calls[use.call][1]
    return growing_axis(shapes[0], use.shape, (FEW, MORE)) if shapes else None


def _cotangents(
    outputs: Float[Tensor, "n C"], rows: Sequence[int], other_rows: Sequence[int]
) -> tuple[Float[Tensor, "4 C"], Float[Tensor, "3 C"]]:
    """Random output directions, equal for the same example in both pilots."""
    generator = torch.Generator().manual_seed(0)
    drawn = {
        row: torch.randn(outputs.shape[1], generator=generator, dtype=torch.float64) for row in {*rows, *other_rows}
    }
    more, few = (torch.stack([drawn[row] for row in places]).to(outputs) for places in (rows, other_rows))
    return more, few
