"""Plans of a language model's stages: which uses of the wanted parameters each has, and its inputs for all windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.kernels.groups import Group
from tangentlens.kernels.tracing.plan import Plan, Strategy, make_plan
from tangentlens.language.batches import Batch, some
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.scratch import Scratch
from tangentlens.language.sweep.stages import Chain, Stage, cut
from tangentlens.models.functional import FunctionalModel, functional_model

_FORWARD_WINDOWS = 64  # run at once when the inputs of the stages are computed
_PLAN_WINDOWS = 7
_CHECK_WINDOWS = 2


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


def planned_chain(lm: LanguageModel, batch: Batch, groups: Sequence[Group]) -> tuple[Chain, list[PlannedStage]]:
    """The model cut into stages, and how those above the groups' lowest parameter use the groups' parameters.

    Raises:
        InvalidInputError: no parameter of a group is on the way to the final hidden state; names the group.
        UnsupportedModelError: the stages are not the model, or a parameter is used in a way that has no factors.
    """
    chain, sample = cut(lm, batch), _spread(batch, _PLAN_WINDOWS)
    chain.check(some(sample, slice(0, _CHECK_WINDOWS)))
    planned = plan_stages(chain, sample, _wanted(lm, groups))
    used = {name for stage in planned for name in stage.names.values()}
    idle = [group.name for group in groups if not used & set(group.parameters)]
    if idle:
        raise InvalidInputError(
            "no parameter of this group is on the way to the final hidden state",
            where=", ".join(idle),
            remedy="Leave it out: its kernel is zero, or, of a head that is not tied, one of the logits alone.",
        )
    return chain, planned


def stage_inputs(
    chain: Chain, planned: Sequence[PlannedStage], batch: Batch, scratch: Scratch
) -> tuple[list[dict[str, Tensor]], Float[Tensor, "N d"]]:
    """The inputs of every planned stage for all windows, and the final hidden state at their last positions."""
    windows = len(batch["input_ids"])
    joined: list[dict[str, Tensor]] = [{} for _ in planned]
    finals: list[Tensor] = []
    for start in range(0, windows, _FORWARD_WINDOWS):
        rows = slice(start, start + _FORWARD_WINDOWS)
        every = chain.inputs(some(batch, rows))
        with torch.no_grad():
            finals.append(chain.stages[-1].module(**every[-1]))
        for stage, inputs in zip(planned, joined, strict=True):
            for name, piece in every[stage.index].items():
                if name not in inputs:
                    shape = (windows, *piece.shape[1:])
                    inputs[name] = scratch.allocate(f"inputs-{stage.index}-{name}", shape, piece)
                inputs[name][rows] = piece
    return joined, torch.cat(finals)


def _wanted(lm: LanguageModel, groups: Sequence[Group]) -> dict[int, str]:
    parameters = dict(lm.model.named_parameters())
    return {id(parameters[name]): name for group in groups for name in group.parameters}


def _spread(batch: Batch, count: int) -> dict[str, Tensor]:
    """So many windows, evenly spread over the batch; all of them where there are fewer."""
    total = len(batch["input_ids"])
    rows = torch.linspace(0, total - 1, min(count, total)).round().long()
    return some(batch, rows)


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
