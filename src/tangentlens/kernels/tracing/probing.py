"""Pilot batches: what a model calls, how its results grow with the batch, and where the gradient of each example goes.

Three forward passes: one that notes every call for 3 examples, one that records the uses of the parameters for 4, and
one that records them for the first 3 again. Two of the examples are in both batches, at other places and among others.
Two passes over a larger part of the batch, in order and reversed, look for influence between examples alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tangentlens.errors import InvalidInputError, TangentlensError, UnsupportedModelError
from tangentlens.kernels.shares import EXAMPLES
from tangentlens.kernels.tracing.interception import calling_line, shapes_of
from tangentlens.kernels.tracing.layouts import Evidence, Layout, growing_axis, prove_layout
from tangentlens.kernels.tracing.recording import (
    CarriesBatch,
    RecordedUse,
    Recording,
    record_calls,
    record_uses,
    watch_calls,
)
from tangentlens.kernels.tracing.witnesses import Witnesses
from tangentlens.models.checks import Ran, agreement, check_deterministic, check_finite, check_independent
from tangentlens.models.functional import FunctionalModel, Inputs, at_least_two, batch_size, take

FEW, MORE = 3, 4  # batch sizes of the pilots; coprime, so that no other axis grows like the batch
_LARGER = 16  # examples, and a twentieth of the batch, in the passes that look for influence alone


@dataclass(frozen=True)
class Pilot:
    """One recorded batch and the gradients of its outputs, example by example.

    Attributes:
        recording: of the forward pass, with results.
        rows: for each example of the pilot its row in the user's batch.
        gradients: for each use the gradient of sum over n of c_n . f(x_n) at its result.
        evidence: for each use what the pilot shows of its layout; None where no single axis grows.
    """

    recording: Recording
    rows: tuple[int, ...]
    gradients: tuple[Tensor, ...]
    evidence: tuple[Evidence | None, ...]


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
    large = record_uses(model, more, model.trainable, _growth(first, calls), keep_results=True)
    _check_length(first, calls)
    small = record_uses(model, few, model.trainable, following(calls), keep_results=True)
    check_finite(model, more, large.output)
    check_deterministic(model, few, first.output, small.output)
    passes = [Ran(more, large.output, rows), Ran(few, small.output, other_rows)]
    per_example = _results_bytes(first, large.output)
    check_independent(model, [*passes, *_larger(model, inputs, calls, budget // max(1, per_example))])
    axes = tuple(_axis(use, first) for use in large.uses)
    cotangents = _cotangents(large.output, rows, other_rows)
    return Pilots(
        _probed(large, rows, cotangents[0], axes),
        _probed(small, other_rows, cotangents[1], axes),
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


def following(calls: Sequence[tuple[str, bool]]) -> CarriesBatch:
    """Looks up whether a call's result has a batch axis, and refuses a forward pass that makes other calls."""

    def carries_batch(position: int, name: str, _result: Any) -> bool:
        if position < len(calls) and calls[position][0] == name:
            return calls[position][1]
        raise other_way(name, "calls {} where it did not before")

    return carries_batch


def other_way(name: str, what: str) -> UnsupportedModelError:
    """The error for a forward pass that makes other calls than the pilot's."""
    return UnsupportedModelError(
        f"the forward pass takes another way on other examples (it {what.format(name)})",
        where=calling_line(),
        remedy="Control flow may not depend on the values of the data; analyse such examples one batch at a time.",
    )


def _growth(few: Recording, calls: list[tuple[str, bool]]) -> CarriesBatch:
    """Finds whether a call's result grows with the batch, by its shapes in a smaller one; fills `calls`."""

    def carries_batch(position: int, name: str, result: Any) -> bool:
        if position >= len(few.calls) or few.calls[position][0] != name:
            raise _other_calls(name)
        calls.append((name, shapes_of(result) != few.calls[position][1]))
        return calls[-1][1]

    return carries_batch


def _check_length(few: Recording, calls: Sequence[tuple[str, bool]]) -> None:
    if len(calls) < len(few.calls):
        raise _other_calls(few.calls[len(calls)][0])


def _other_calls(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the forward pass makes other calls for {MORE} examples than for {FEW}",
        where=name,
        remedy="Control flow may depend neither on the values of the data nor on the batch size.",
    )


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


def _probed(
    recording: Recording, rows: tuple[int, ...], cotangents: Float[Tensor, "n C"], axes: Sequence[int | None]
) -> Pilot:
    """Differentiate the outputs of one example after another at every use."""
    edges = list(dict.fromkeys(use.edge for use in recording.uses))
    shapes = {use.edge: use.shape for use in recording.uses}
    axis_of = dict(zip((use.edge for use in recording.uses), axes, strict=True))
    traces = {edge: _Trace(recording.output.new_zeros(shapes[edge]), axis_of[edge]) for edge in edges}
    for place, cotangent in enumerate(cotangents):
        for edge, gradient in zip(edges, _gradients(recording.output, edges, place, cotangent), strict=True):
            traces[edge].add(gradient)
    evidence = tuple(traces[use.edge].evidence(use.result) for use in recording.uses)
    return Pilot(recording, rows, tuple(traces[use.edge].total for use in recording.uses), evidence)


def _gradients(
    output: Float[Tensor, "n C"], edges: Sequence[GradientEdge], place: int, cotangent: Float[Tensor, " C"]
) -> Sequence[Tensor | None]:
    """Gradients of c . f(x_n) for the example at one place of a batch; None where they do not reach."""
    if not edges or not output.requires_grad:
        return [None] * len(edges)
    alone = torch.zeros_like(output)
    alone[place] = cotangent
    return torch.autograd.grad(output, list(edges), alone, retain_graph=True, allow_unused=True)


class _Trace:
    """The gradients at one result, as they come in example by example."""

    def __init__(self, zeros: Tensor, axis: int | None) -> None:
        self.total, self._axis = zeros, axis
        self._support: list[Tensor] = []
        self._reached = torch.zeros_like(zeros, dtype=torch.bool)
        self._shared = self._undefined = False

    def add(self, gradient: Tensor | None) -> None:
        """Note the gradient of the next example's outputs."""
        if gradient is None:
            reached = torch.zeros_like(self._reached)
        else:
            self.total = self.total + gradient
            reached = gradient != 0
            self._undefined = self._undefined or bool(gradient.isnan().any())
        if self._axis is not None:
            by_entry = reached.movedim(self._axis, 0)
            self._support.append(by_entry.reshape(len(by_entry), -1).any(1))
        self._shared = self._shared or bool((self._reached & reached).any())
        self._reached |= reached

    def evidence(self, result: Tensor | None) -> Evidence | None:
        """What the gradients of all examples show; None where no axis grows, or a gradient is undefined."""
        if self._axis is None or result is None or self._undefined:
            return None
        return Evidence(len(self._support), result, torch.stack(self._support), self._shared)
