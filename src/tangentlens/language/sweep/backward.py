"""Backward pass through the stages of a language model for many output directions: factors of every use of a weight.

The stages are differentiated one after another from the last to the first. The gradients of all directions at a stage's
output are pulled back to its input, and to the outputs of every use of the wanted parameters. Only one stage's graph
and factors are in memory at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.factored.factors import Factors, factors_of
from tangentlens.kernels.tracing.recording import Recording
from tangentlens.language.sweep.compressed import ViewFactors
from tangentlens.language.sweep.memory import in_pieces
from tangentlens.language.sweep.planning import PlannedStage
from tangentlens.language.sweep.scratch import Scratch
from tangentlens.language.sweep.stages import HIDDEN
from tangentlens.language.sweep.workspace import Workspace
from tangentlens.models.inputs import take
from tangentlens.progress import Progress

# of one stage's graph, which decides how many windows are run at a time: with 16 windows of a model of 270M parameters
# tensors stay in the cache, and a backward pass takes a tenth less than with 115
_BACKWARD_BYTES = 2**29

# of one stage: parameter (first name in the language model) -> the factors of its uses. The receiver may take out an
# entry that it has used, which frees its memory
StageFactors = dict[str, tuple[ViewFactors, ...]]


def backward_sweep(
    planned: Sequence[PlannedStage],
    inputs: Sequence[Mapping[str, Tensor]],
    cotangents: Float[Tensor, "R N d"],
    workspace: Workspace,
    progress: Progress,
) -> Iterator[StageFactors]:
    """The factors of every wanted parameter, stage by stage from the last, or from where the workspace was left.

    Args:
        planned: from `plan_stages`.
        inputs: for each planned stage its inputs for all windows.
        cotangents: of the final hidden state at the last positions; overwritten.
        workspace: holds the gradients between two stages; a stage is committed when the caller asks for the next one.
    """
    scratch, results = workspace
    first, kept = workspace.start()
    gradient: Tensor = cotangents if kept is None else kept
    for place in range(first, len(planned)):
        pulled = None
        if place < len(planned) - 1:
            pulled = scratch.input_gradients(place, (len(gradient), *inputs[place][HIDDEN].shape), gradient)
        views = _by_parameter(planned[place], _through(planned[place], inputs[place], gradient, pulled, scratch))
        scratch.release()
        progress("sweep", place + 1, len(planned))
        yield views
        del views  # the factors of one stage are gigabytes: gone before those of the next are made
        gradient = gradient if pulled is None else pulled
        results.commit(place, gradient)


def _through(
    planned: PlannedStage,
    inputs: Mapping[str, Tensor],
    gradient: Float[Tensor, "R N ..."],
    pulled: Float[Tensor, "R N ..."] | None,
    scratch: Scratch,
) -> dict[int, Factors]:
    """The factors of the stage's uses; the gradients at its input are written to `pulled`, where there is such."""
    uses = _uses(planned)
    N = gradient.shape[1]
    store: dict[int, Factors] = {}

    def work(rows: slice) -> None:
        found, hidden = _chunk(planned, uses, dict(take(dict(inputs), rows)), gradient[:, rows], pulled is None)  # type: ignore[arg-type]
        if not store:
            store.update(_allocated(found, N, scratch))
        for index, piece in found.items():
            store[index].left[rows] = piece.left
            store[index].right[:, rows] = piece.right
        if pulled is not None:
            pulled[:, rows] = hidden

    width = max(1, min(N, _BACKWARD_BYTES // max(1, 2 * planned.plan.bytes_per_example)))
    in_pieces(work, N, width, f"backward pass of stage {planned.index}")
    return store


def _chunk(
    planned: PlannedStage, uses: Sequence[int], inputs: dict[str, Tensor], gradient: Tensor, lowest: bool
) -> tuple[dict[int, Factors], Tensor]:
    examples = gradient.shape[1]
    sources: list[Tensor] = []
    if not lowest:
        inputs[HIDDEN] = inputs[HIDDEN].detach().requires_grad_()
        sources = [inputs[HIDDEN]]
    recording = planned.plan.record(planned.view, inputs)
    edges = list(dict.fromkeys(recording.uses[i].edge for i in uses))
    sought: Any = [*edges, *sources]
    columns = gradient.reshape(len(gradient), examples, -1)
    pulled = [
        torch.autograd.grad(recording.output, sought, column, retain_graph=True, allow_unused=True)
        for column in columns
    ]
    by_edge = {edge: [row[place] for row in pulled] for place, edge in enumerate(edges)}
    made = {i: _factors(planned, recording, i, by_edge[recording.uses[i].edge], examples) for i in uses}
    hidden = gradient if lowest else torch.stack([row[-1] for row in pulled])
    return made, hidden


def _factors(
    planned: PlannedStage, recording: Recording, index: int, gradients: Sequence[Tensor | None], n: int
) -> Factors:
    used = recording.uses[index]
    layout = planned.plan.layouts[index]
    if layout is None:
        raise UnsupportedModelError("a use without a batch axis was taken for a factored one", where=used.place)
    stacked = torch.stack([recording.output.new_zeros(used.shape) if g is None else g for g in gradients])
    return factors_of(used.use, stacked, layout, n)


def _allocated(pieces: Mapping[int, Factors], total: int, scratch: Scratch) -> dict[int, Factors]:
    """Uninitialised factors of all windows, shaped after those of some; window-major, as products read them."""
    sides = [side for piece in pieces.values() for side in (piece.left, piece.right.transpose(0, 1))]
    empty = iter(scratch.factors([((total, *side.shape[1:]), side) for side in sides]))
    return {i: replace(p, left=next(empty), right=next(empty).transpose(0, 1)) for i, p in pieces.items()}


def _uses(planned: PlannedStage) -> tuple[int, ...]:
    plans = (planned.plan.parameters[name] for name in planned.names)
    return tuple(sorted({i for plan in plans for view in plan.views for i in view.uses}))


def _by_parameter(planned: PlannedStage, factors: Mapping[int, Factors]) -> dict[str, tuple[ViewFactors, ...]]:
    return {
        full: tuple(ViewFactors(tuple(factors[i] for i in view.uses)) for view in planned.plan.parameters[name].views)
        for name, full in planned.names.items()
    }
