"""Ablations and shifts of modes at one place of a network, each beside controls that went through the same map."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.case import Case
from tangentlens.analysis.interventions.intervention_places import Rows, tried
from tangentlens.analysis.interventions.mode_blocks import ModeBlock, columns_of_block
from tangentlens.analysis.interventions.readout import Readout
from tangentlens.analysis.interventions.trials import LEAST, LEAST_OF_CONTROLS, Meter, Trial
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.controls.interventions.edits import Edit
from tangentlens.controls.interventions.effects import relative_change
from tangentlens.controls.interventions.matched import Place
from tangentlens.controls.interventions.steering import first_order

CONTROLS = 24  # random functions behind every intervention; 20 at least
_ISOTROPIC = 4  # draws of random directions
_STEERED = 3  # single modes that values are moved along
_VALUES: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
DOSES = {"inputs": _VALUES, "activations": _VALUES, "parameters": (0.01, 0.03, 0.1, 0.3)}
_BLOCK_DOSE = 2  # place of the dose at which a block is shifted

# From directions to the edits whose costs are averaged: one for an ablation, both signs for a shift.
Edits = Callable[[Tensor], list[Edit]]


@dataclass(frozen=True)
class Bench:
    """What the interventions of one case share.

    Attributes:
        case, modes, rows: of the analysis.
        meter: of the scoring rows.
        readout: of features at the last site.
    """

    case: Case
    modes: GroupModes
    rows: Rows
    meter: Meter
    readout: Readout

    @property
    def controls(self) -> int:
        """Random functions behind every intervention."""
        return max(20, min(self.case.options.controls or CONTROLS, CONTROLS))


class Compared(NamedTuple):
    """What the controls of one size did.

    Attributes:
        outputs: after each random function's edits.
        functions: costs of these.
        isotropic: mean cost of random directions.
        principal: costs of principal components, None where there are too few.
    """

    outputs: list[list[Tensor]]
    functions: Float[Tensor, "R n"]
    isotropic: float
    principal: Float[Tensor, " n"] | None


class AtPlace:
    """The interventions at one place.

    Args:
        bench: of the case.
        place: where.
        k: size of the largest block.
    """

    def __init__(self, bench: Bench, place: Place, k: int) -> None:
        self._bench, self._place = bench, place
        generator = bench.case.generator("random functions of interventions")
        self._functions = place.random(bench.controls, min(k, self._most), generator)
        generator = bench.case.generator(f"random directions at {place.name}")
        self._isotropic = place.isotropic(_ISOTROPIC, k, generator)
        self._principal = place.carry(place.principal[:, :k])
        self._before = tried(place.scoring, place.scoring.values)
        self._compared: dict[tuple[int, float | None], Compared] = {}

    @property
    def _most(self) -> int:
        """Independent functions of the choosing rows."""
        return len(self._bench.rows.choosing) - 1

    def ablations(self, blocks: Sequence[ModeBlock]) -> Iterator[Trial]:
        """Every block projected out; none that takes all there is, where nothing could be compared."""
        gone = self._place.around.expand_as(self._place.scoring.values)
        least = LEAST * abs(float(self._bench.meter.costs(tried(self._place.scoring, gone)).mean()))
        for block in blocks:
            own = self._carried(block)
            if own.shape[1] and own.shape[1] < min(self._place.width, self._most):
                yield self._trial(block, own, None, least)

    def shifts(self, blocks: Sequence[ModeBlock]) -> Iterator[Trial]:
        """The leading single modes at every dose, the first block at one."""
        doses = DOSES[self._place.space]
        chosen = [(block, doses) for block in blocks if block.single][:_STEERED]
        chosen += [(block, doses[_BLOCK_DOSE : _BLOCK_DOSE + 1]) for block in blocks if not block.single][:1]
        for block, some in chosen:
            own = self._carried(block)
            for dose in some if own.shape[1] else ():
                yield self._trial(block, own, dose, None)

    def _carried(self, block: ModeBlock) -> Float[Tensor, "w k"]:
        return self._place.carry(columns_of_block(self._bench.modes, block, self._bench.rows.choosing))

    def _edits(self, dose: float | None) -> Edits:
        place = self._place
        if dose is None:
            return lambda directions: [place.ablation(directions)]
        return lambda directions: [place.shift(directions, dose), place.shift(directions, -dose)]

    def _controls(self, size: int, dose: float | None) -> Compared:
        if (size, dose) not in self._compared:
            edits, R = self._edits(dose), len(self._functions)
            principal = [self._principal] if self._principal.shape[1] >= size else []
            tried_here = [edits(each[:, :size]) for each in (*self._functions, *self._isotropic, *principal)]
            signs = len(tried_here[0])
            outputs = self._after([edit for each in tried_here for edit in each])
            grouped = [outputs[start : start + signs] for start in range(0, len(outputs), signs)]
            costs = torch.stack([self._costs(each) for each in grouped])
            last = R + len(self._isotropic)
            self._compared[size, dose] = Compared(
                grouped[:R], costs[:R], float(costs[R:last].mean()), costs[last] if principal else None
            )
        return self._compared[size, dose]

    def _after(self, edits: Sequence[Edit]) -> list[Tensor]:
        return self._place.run([edit(self._place.scoring.values) for edit in edits])

    def _costs(self, outputs: Sequence[Tensor]) -> Float[Tensor, " n"]:
        return torch.stack([self._bench.meter.costs(each) for each in outputs]).mean(dim=0)

    def _trial(self, block: ModeBlock, own: Float[Tensor, "w k"], dose: float | None, least: float | None) -> Trial:
        meter, place, size = self._bench.meter, self._place, own.shape[1]
        compared, edits = self._controls(size, dose), self._edits(dose)(own)
        outputs = self._after(edits)
        costs = self._costs(outputs)
        kept, among, read = self._kept(block, edits, outputs, compared)
        labels = {
            "site": place.name, "space": place.space, "action": "ablate" if dose is None else "steer",
            "what": block.name, "feature": block.feature, "feature_read": read,
        }  # fmt: skip
        numbers = {
            "size": float(size),
            "dose": float("nan") if dose is None else dose,
            "loss_change": meter.loss_change(costs),
            "accuracy_change": _mean([meter.performance_change(each) for each in outputs]),
            "output_change": _mean([meter.output_change(each) ** 2 for each in outputs]) ** 0.5,
            "unpredicted": self._unpredicted(edits[0], outputs[0]),
            "feature_kept": kept,
            "feature_kept_control": among,
            "random": compared.isotropic,
        }
        if least is None:
            least = LEAST_OF_CONTROLS * abs(float(compared.functions.mean()))
        return Trial(labels, numbers, costs, compared.functions, compared.principal, least)

    def _kept(
        self, block: ModeBlock, edits: Sequence[Edit], outputs: Sequence[Tensor], compared: Compared
    ) -> tuple[float, float, str]:
        """Percent of the feature that is left, the mean over controls, and where it was read."""
        bench = self._bench
        if not block.feature:
            return float("nan"), float("nan"), ""
        kept = _mean([bench.meter.kept(block.feature, each) for each in outputs])
        if kept == kept:
            among = [bench.meter.kept(block.feature, each) for draw in compared.outputs for each in draw]
            return kept, _mean(among), "outputs"
        feature, values = bench.case.by_name[block.feature], self._place.scoring.values
        left = _mean([bench.readout.kept(feature, self._place.name, edit(values)) for edit in edits])
        return left, float("nan"), "last site" if left == left else ""

    def _unpredicted(self, edit: Edit, after: Float[Tensor, "n C"]) -> float:
        """||F' - F - J (z' - z)|| / ||F' - F||; NaN where torch has no derivative."""
        happened = relative_change(self._before, after)
        try:
            predicted = first_order(self._place.scoring, edit)
        except (RuntimeError, NotImplementedError):
            return float("nan")
        return relative_change(self._before, after - predicted) / happened if happened > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
