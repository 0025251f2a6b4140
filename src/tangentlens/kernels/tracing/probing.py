"""Gradients of one example after another at every recorded use: where in a result each example's gradient goes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tangentlens.kernels.tracing.layouts import Evidence
from tangentlens.kernels.tracing.recording import Recording


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


def probe(
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
