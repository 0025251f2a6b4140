"""Run a model over all examples and bring home the factors of every use."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tangentlens.kernels.differentiation import vectorised_grad
from tangentlens.kernels.factors import Part, part
from tangentlens.kernels.plan import Plan
from tangentlens.kernels.recording import Recording
from tangentlens.models.functional import FunctionalModel, Inputs, batch_size, take


@dataclass(frozen=True)
class Request:
    """Uses whose factors are wanted, for some output directions.

    Attributes:
        uses: indices into the plan's sequence of uses.
        directions: (C, R).
    """

    uses: tuple[int, ...]
    directions: Float[Tensor, "C R"]


def collect(
    model: FunctionalModel, plan: Plan, inputs: Inputs, requests: Iterable[Request], *, chunk: int
) -> list[dict[int, Part]]:
    """Factors of the requested uses for every example, from one forward pass over the batch.

    Args:
        chunk: examples in one forward pass.

    Returns:
        for each request, index of the use -> its factors.
    """
    requests = list(requests)
    pieces: list[list[dict[int, Part]]] = [[] for _ in requests]
    total = batch_size(inputs)
    for start in range(0, total, chunk):
        batch = take(inputs, slice(start, min(start + chunk, total)))
        recording = plan.record(model, batch)
        for found, request in zip(pieces, requests, strict=True):
            found.append(_parts(recording, plan, request, batch_size(batch)))
    return [_joined(found) for found in pieces]


def _parts(recording: Recording, plan: Plan, request: Request, examples: int) -> dict[int, Part]:
    uses = {index: recording.uses[index] for index in request.uses}
    edges = list(dict.fromkeys(use.edge for use in uses.values()))
    gradients = dict(zip(edges, backward(recording.output, edges, request.directions), strict=True))
    parts = {}
    for index, recorded in uses.items():
        layout = plan.layouts[index]
        gradient = gradients[recorded.edge]
        if gradient is None:
            gradient = recording.output.new_zeros(request.directions.shape[1], *recorded.shape)
        if layout is not None:
            parts[index] = part(recorded.use, gradient, layout, examples)
    return parts


def backward(
    outputs: Float[Tensor, "n C"], edges: list[GradientEdge], directions: Float[Tensor, "C R"]
) -> list[Tensor | None]:
    """(R, *shape of y) gradients of f . D[:, r], summed over examples, at each edge; None where it does not reach."""
    if not edges or not outputs.requires_grad:
        return [None] * len(edges)
    columns = directions.to(outputs).T  # (R, C)
    cotangents = columns[:, None, :].expand(-1, outputs.shape[0], -1)
    return list(vectorised_grad([outputs], edges, [cotangents]))


def _joined(pieces: list[dict[int, Part]]) -> dict[int, Part]:
    if len(pieces) == 1:
        return pieces[0]
    joined = {}
    for index, first in pieces[0].items():
        left = torch.cat([piece[index].left for piece in pieces])
        right = torch.cat([piece[index].right for piece in pieces], dim=1)
        joined[index] = Part(left, right, first.axes, first.one_hot, first.value_sizes)
    return joined
