"""Collect the factors of every use over all examples of a batch."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.differentiation import vectorised_grad
from tangentlens.kernels.factored.factors import Factors, factors_of
from tangentlens.kernels.tracing.plan import Plan
from tangentlens.kernels.tracing.recording import Recording
from tangentlens.kernels.tracing.witnesses import Witnesses
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, at_least_two, batch_size, take


def collect(
    model: FunctionalModel,
    plan: Plan,
    inputs: Inputs,
    uses: Sequence[int],
    directions: Float[Tensor, "C R"],
    *,
    chunk: int,
    witnesses: Witnesses | None = None,
) -> dict[int, Factors]:
    """Factors of some uses for every example, from one forward pass over the batch.

    Args:
        uses: indices into the plan's sequence of uses.
        directions: output directions of the right factors.
        chunk: examples in one forward pass.
        witnesses: what the outputs are compared with, where `inputs` is the user's batch.

    Returns:
        index of the use -> its factors.

    Raises:
        NumericalError: an output is NaN or infinite.
        UnsupportedModelError: the forward pass takes another way than the pilot's, or examples influence each other.
    """
    total = batch_size(inputs)
    joined: dict[int, Factors] = {}
    for start in range(0, total, chunk):
        batch = take(inputs, slice(start, min(start + chunk, total)))
        examples = batch_size(batch)
        recording = plan.record(model, at_least_two(batch))
        if witnesses is not None:
            witnesses.check(recording.output[:examples], start)
        collected = _factors(recording, plan, uses, directions, len(recording.output))
        del recording
        for index in list(collected):
            piece = collected.pop(index).rows(slice(0, examples))
            joined[index] = piece if examples == total else _placed(joined.get(index), piece, start, total)
    return joined


def _placed(whole: Factors | None, piece: Factors, start: int, total: int) -> Factors:
    """The factors of all examples with those of a piece of the batch in their place."""
    if whole is None:
        left = piece.left.new_empty(total, *piece.left.shape[1:])
        right = piece.right.new_empty(len(piece.right), total, *piece.right.shape[2:])
        whole = Factors(left, right, piece.axes, piece.one_hot, piece.value_sizes)
    rows = slice(start, start + piece.right.shape[1])
    whole.left[rows], whole.right[:, rows] = piece.left, piece.right
    return whole


def _factors(
    recording: Recording, plan: Plan, uses: Sequence[int], directions: Float[Tensor, "C R"], examples: int
) -> dict[int, Factors]:
    recorded = {index: recording.uses[index] for index in uses}
    edges = list(dict.fromkeys(use.edge for use in recorded.values()))
    gradients = dict(zip(edges, backward(recording.output, edges, directions), strict=True))
    factors = {}
    for index, use in recorded.items():
        layout = plan.layouts[index]
        gradient = gradients[use.edge]
        if gradient is None:
            gradient = recording.output.new_zeros(directions.shape[1], *use.shape)
        if layout is None:
            continue
        if use.shape[layout.axis] != examples * layout.per_example:
            raise UnsupportedModelError(
                f"the rows that {use.name} works on are chosen by the values of the data",
                where=use.place,
                remedy="Weigh the rows instead of selecting them, or freeze the parameters used there.",
            )
        factors[index] = factors_of(use.use, gradient, layout, examples)
    return factors


def backward(
    outputs: Float[Tensor, "n C"], edges: list[GradientEdge], directions: Float[Tensor, "C R"]
) -> list[Tensor | None]:
    """(R, *shape of y) gradients of f . D[:, r], summed over examples, at each edge; None where it does not reach."""
    if not edges or not outputs.requires_grad:
        return [None] * len(edges)
    columns = directions.to(outputs).T  # (R, C)
    cotangents = columns[:, None, :].expand(-1, outputs.shape[0], -1)
    return list(vectorised_grad([outputs], edges, [cotangents]))
