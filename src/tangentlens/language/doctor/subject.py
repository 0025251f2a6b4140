"""The model under examination, with the few random windows that it is tried on."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tangentlens.errors import TangentlensError, UnsupportedModelError
from tangentlens.kernels.tracing.plan import make_plan
from tangentlens.language.model import LanguageModel, working_copy
from tangentlens.language.sweep.groups import resolve_language_groups
from tangentlens.language.sweep.planning import PlannedStage
from tangentlens.language.sweep.stages import Chain, Stage, cut
from tangentlens.models.functional import functional_model
from tangentlens.models.inputs import Inputs

PLAN_WINDOWS = 7  # as many as a plan looks at
PADDING = 3  # positions that are put before or behind a window
_WINDOWS, _LENGTH = 3, 12


@dataclass(frozen=True)
class Task:
    """The size of the sweep that is asked about.

    Attributes:
        windows: N.
        length: tokens in each, T.
        directions: r.
    """

    windows: int
    length: int
    directions: int


@dataclass(frozen=True)
class Block:
    """The largest block on windows of the length asked for.

    Attributes:
        planned: how it uses its parameters.
        inputs: its inputs for PLAN_WINDOWS windows.
        entering_bytes: of the inputs of all stages, for one window.
    """

    planned: PlannedStage
    inputs: dict[str, Tensor]
    entering_bytes: int


@dataclass(frozen=True)
class Subject:
    """A language model and what is to be done with it.

    Attributes:
        lm: the model.
        task: the sweep that is asked about.
        seed: of the random tokens and directions.
    """

    lm: LanguageModel
    task: Task
    seed: int

    @property
    def positions(self) -> int | None:
        """The longest window that the model's config knows of; None where it names none."""
        return self.lm.positions

    @cached_property
    def working(self) -> LanguageModel:
        """The copy of the model that is differentiated."""
        return working_copy(self.lm)

    def wanted(self, preset: str) -> tuple[str, ...]:
        """The parameters of a preset of groups; none where the model has none of a name that the preset knows."""
        try:
            groups = resolve_language_groups(self.lm, preset)
        except UnsupportedModelError:
            return ()
        return tuple(name for group in groups for name in group.parameters)

    @cached_property
    def probe(self) -> dict[str, Tensor]:
        """A few short windows of random tokens."""
        longest = min(_LENGTH, self.task.length)
        return self.windows(_WINDOWS, longest if self.positions is None else min(longest, self.positions - PADDING))

    def windows(self, count: int, length: int) -> dict[str, Tensor]:
        """Windows of random tokens, without padding."""
        generator = torch.Generator().manual_seed(self.seed)
        ids = torch.randint(self.lm.vocabulary, (count, length), generator=generator)
        return {"input_ids": ids.to(self.lm.unembedding.device)}

    @cached_property
    def chain(self) -> Chain:
        """The model cut into stages, for windows as long as the probe."""
        return cut(self.working, self.probe)

    @cached_property
    def planned(self) -> tuple[PlannedStage, ...]:
        """How the blocks and the final norm use their parameters, from the last stage down to the first block.

        All parameters that a block uses are named, also those without factors.
        """
        inputs = self.chain.inputs(self.probe)
        stages = list(enumerate(self.chain.stages))[1:]
        return tuple(plan_stage(self.working, i, stage, inputs[i]) for i, stage in reversed(stages))

    @cached_property
    def largest_block(self) -> Block:
        """The block with the most weights, on windows of the length asked for."""
        batch = self.windows(PLAN_WINDOWS, self.task.length)
        chain = cut(self.working, batch)
        inputs = chain.inputs(batch)
        sizes = [sum(p.numel() for p in stage.module.parameters()) for stage in chain.stages[1:-1]]
        index = 1 + sizes.index(max(sizes))
        planned = plan_stage(self.working, index, chain.stages[index], inputs[index])
        held = sum(tensor.numel() * tensor.element_size() for stage in inputs for tensor in stage.values())
        return Block(planned, inputs[index], held // PLAN_WINDOWS)


def plan_stage(lm: LanguageModel, index: int, stage: Stage, inputs: Inputs) -> PlannedStage:
    """How one stage uses its parameters.

    Raises:
        UnsupportedModelError: its forward pass cannot be followed; names the stage.
    """
    try:
        view = functional_model(stage.module)
        plan = make_plan(view, inputs)
    except TangentlensError as error:
        place = f"{stage.name}: {error.where}" if error.where else stage.name
        raise UnsupportedModelError(error.what, where=place, remedy=error.remedy) from error
    full = {id(parameter): name for name, parameter in lm.model.named_parameters()}
    names = {
        name: full[id(parameter)]
        for name, parameter in stage.module.named_parameters()
        if name in plan.parameters and id(parameter) in full
    }
    return PlannedStage(index, view, plan, names)
