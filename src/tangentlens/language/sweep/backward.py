"""One backward pass through the stages of a language model for many output directions, and the factors it leaves.

The stages are differentiated one after another from the last to the first: the gradients of all directions at a
stage's output are pulled back to its input, and on the way the factors of every use of the wanted parameters fall off.
Only one stage's graph and factors are alive at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.kernels.factored.factors import Factors as Part
from tangentlens.kernels.factored.factors import factors_of as part
from tangentlens.kernels.tracing.plan import Plan, Strategy, make_plan
from tangentlens.kernels.tracing.recording import Recording
from tangentlens.language.batches import Batch
from tangentlens.language.sweep.compressed import FrameParts
from tangentlens.language.sweep.memory import in_pieces
from tangentlens.language.sweep.stages import HIDDEN, Chain, Stage
from tangentlens.language.sweep.workspace import SweepWorkspace
from tangentlens.models.functional import FunctionalModel, functional_model
from tangentlens.models.inputs import take
from tangentlens.progress import Progress

# of one stage's graph, which decides how many windows are run at a time: with 16 of Gemma's, tensors stay in the cache
# and a backward pass takes a tenth less than with 115
_BACKWARD_BYTES = 2**29


# what one stage gives: parameter (first name in the language model) -> the factors of its uses; the taker may take out
# what it is done with, and the memory goes with it
StageFrames = dict[str, tuple[FrameParts, ...]]


@dataclass(frozen=True)
class PlannedStage:
    """A stage with how its wanted parameters are used.

    Attributes:
        index: of the stage in the chain.
        view: its module as a function of its parameters.
        plan: the uses, proven on a few windows.
        names: name in the stage -> first name in the language model, for the wanted parameters that it uses.
    """

    index: int
    view: FunctionalModel
    plan: Plan
    names: Mapping[str, str]


def plan_stages(chain: Chain, batch: Batch, wanted: Mapping[int, str]) -> list[PlannedStage]:
    """Find how every stage uses the wanted parameters; stages below the lowest use are left out.

    Args:
        batch: a few windows.
        wanted: identity of a parameter -> its first name in the language model.

    Returns:
        the stages from the last down to the lowest that uses a wanted parameter.

    Raises:
        InvalidInputError: no stage holds a wanted parameter.
        UnsupportedModelError: a wanted parameter is used in a way that has no factors; names it and the place.
    """
    inputs = chain.inputs(batch)
    holding = [i for i, stage in enumerate(chain.stages) if _held(stage, wanted, chain, i)]
    if not holding:
        raise InvalidInputError(
            "none of these parameters is on the way to the final hidden state", where=", ".join(wanted.values())
        )
    lowest = min(holding)
    planned = []
    for index in range(len(chain.stages) - 1, lowest - 1, -1):
        stage = chain.stages[index]
        view = functional_model(stage.module)
        plan = make_plan(view, inputs[index])
        planned.append(PlannedStage(index, view, plan, _used(stage, plan, wanted)))
    return planned


def backward_sweep(
    planned: Sequence[PlannedStage],
    inputs: Sequence[Mapping[str, Tensor]],
    cotangents: Float[Tensor, "R N d"],
    workspace: SweepWorkspace,
    progress: Progress,
) -> Iterator[StageFrames]:
    """The factors of every wanted parameter, stage by stage from the last, or from where the workspace was left.

    Args:
        planned: from `plan_stages`.
        inputs: for each planned stage its inputs for all windows.
        cotangents: of the final hidden state at the last positions; overwritten.
        workspace: holds the gradients between two stages; told of a stage when the caller asks for the next one.
    """
    first, kept = workspace.start()
    gradient: Tensor = cotangents if kept is None else kept
    for place in range(first, len(planned)):
        below = None
        if place < len(planned) - 1:
            below = workspace.below(place, (len(gradient), *inputs[place][HIDDEN].shape), gradient)
        frames = _by_parameter(planned[place], _through(planned[place], inputs[place], gradient, below, workspace))
        workspace.rest()
        progress("sweep", place + 1, len(planned))
        yield frames
        del frames  # the factors of one stage are gigabytes: gone before those of the next are made
        gradient = gradient if below is None else below
        workspace.reached(place, gradient)


def _through(
    planned: PlannedStage,
    inputs: Mapping[str, Tensor],
    gradient: Float[Tensor, "R N ..."],
    below: Float[Tensor, "R N ..."] | None,
    workspace: SweepWorkspace,
) -> dict[int, Part]:
    """The factors of the stage's uses; the gradients at its input go to `below`, where there is such."""
    uses = _uses(planned)
    N = gradient.shape[1]
    store: dict[int, Part] = {}

    def work(rows: slice) -> None:
        found, hidden = _chunk(planned, uses, dict(take(dict(inputs), rows)), gradient[:, rows], below is None)  # type: ignore[arg-type]
        if not store:
            store.update(_rooms(found, N, workspace))
        for index, piece in found.items():
            store[index].left[rows] = piece.left
            store[index].right[:, rows] = piece.right
        if below is not None:
            below[:, rows] = hidden

    width = max(1, min(N, _BACKWARD_BYTES // max(1, 2 * planned.plan.bytes_per_example)))
    in_pieces(work, N, width, f"backward pass of stage {planned.index}")
    return store


def _chunk(
    planned: PlannedStage, uses: Sequence[int], inputs: dict[str, Tensor], gradient: Tensor, lowest: bool
) -> tuple[dict[int, Part], Tensor]:
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
    parts = {i: _part(planned, recording, i, by_edge[recording.uses[i].edge], examples) for i in uses}
    hidden = gradient if lowest else torch.stack([row[-1] for row in pulled])
    return parts, hidden


def _part(planned: PlannedStage, recording: Recording, index: int, gradients: Sequence[Tensor | None], n: int) -> Part:
    used = recording.uses[index]
    layout = planned.plan.layouts[index]
    if layout is None:
        raise UnsupportedModelError("a use without a batch axis was taken for a factored one", where=used.place)
    stacked = torch.stack([recording.output.new_zeros(used.shape) if g is None else g for g in gradients])
    return part(used.use, stacked, layout, n)


def _rooms(pieces: Mapping[int, Part], total: int, workspace: SweepWorkspace) -> dict[int, Part]:
    """Room for the factors of all windows, from those of some; window-major, as products read them."""
    sides = [side for piece in pieces.values() for side in (piece.left, piece.right.transpose(0, 1))]
    rooms = iter(workspace.scratch([((total, *side.shape[1:]), side) for side in sides]))
    return {i: replace(p, left=next(rooms), right=next(rooms).transpose(0, 1)) for i, p in pieces.items()}


def _uses(planned: PlannedStage) -> tuple[int, ...]:
    plans = (planned.plan.parameters[name] for name in planned.names)
    return tuple(sorted({i for plan in plans for frame in plan.views for i in frame.uses}))


def _by_parameter(planned: PlannedStage, factors: Mapping[int, Part]) -> dict[str, tuple[FrameParts, ...]]:
    return {
        full: tuple(FrameParts(tuple(factors[i] for i in frame.uses)) for frame in planned.plan.parameters[name].views)
        for name, full in planned.names.items()
    }


def _held(stage: Stage, wanted: Mapping[int, str], chain: Chain, index: int) -> bool:
    """Whether the stage itself holds a wanted parameter; the first holds those that no other stage does."""
    if index > 0:
        return any(id(p) in wanted for p in stage.module.parameters())
    above = {id(p) for later in chain.stages[1:] for p in later.module.parameters()}
    return any(id(p) in wanted and id(p) not in above for p in stage.module.parameters())


def _used(stage: Stage, plan: Plan, wanted: Mapping[int, str]) -> dict[str, str]:
    """Name in the stage -> full name, of the wanted parameters that the stage uses."""
    named = stage.module.named_parameters()
    held = {name: wanted[id(p)] for name, p in named if id(p) in wanted and name in plan.parameters}
    used = {name: full for name, full in held.items() if plan.parameters[name].strategy is not Strategy.UNUSED}
    for name, full in used.items():
        found = plan.parameters[name]
        if found.strategy is not Strategy.FACTORED:
            raise UnsupportedModelError(
                f"the gradient of this parameter has no factors: {found.reason}",
                where=full,
                remedy="Leave it out of the groups, or take its kernel with tl.entk(..., method='matrix_free').",
            )
    return used
