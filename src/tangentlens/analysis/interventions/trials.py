"""What interventions did on the scoring rows, and how much of it is beyond their controls.

Every intervention of a family (all ablations, all shifts, all edits of weights) has the same number of controls, and
control r of all of them is built from the same random functions. With x_i0 the mean cost of intervention i and x_ir
that of its controls, z_ir standardises asinh(x_ir / median |x_i|) within i. p ranks x_i0 among its controls; the
corrected p ranks z_i0 among the largest z_jr of each r over the family (Westfall and Young 1993), which bounds the
probability of one false finding in the family.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.arguments.performance import performance, performance_name
from tangentlens.analysis.case import Case
from tangentlens.analysis.questions.resampling import bootstrap_weights, mean_interval
from tangentlens.controls.interventions.effects import amplitude_kept, relative_change
from tangentlens.records import Figure
from tangentlens.statistics.claims import verdict

LEAST = 0.01  # share of the effect of losing all that varies there: an ablation's least excess that counts
LEAST_OF_CONTROLS = 0.1  # share of the controls' mean effect: a shift's


@dataclass(frozen=True)
class Meter:
    """What an intervention is measured by, on some rows.

    Attributes:
        rows: of the case.
        before: (n, C) outputs there.
        name: of the performance: "accuracy" (percent), "r2" or "".
        bases: feature -> (n, r) centred orthonormal basis; rows without a value hold 0.
    """

    case: Case
    rows: Int[Tensor, " n"]
    before: Float[Tensor, "n C"]
    name: str
    bases: Mapping[str, Float[Tensor, "n r"]]

    @classmethod
    def of(cls, case: Case, rows: Int[Tensor, " n"]) -> "Meter":
        """For some rows of a case."""
        bases: dict[str, Tensor] = {}
        for feature in case.features.features:
            there = feature.present[rows]
            basis = centred_basis(feature.values[rows][there])
            full = torch.zeros(len(rows), basis.shape[1], dtype=torch.float64)
            full[there] = basis
            bases[feature.name] = full
        name = performance_name(case.outputs, case.targets, case.loss)
        return cls(case, rows, case.outputs[rows], name, bases)

    def costs(self, after: Float[Tensor, "n C"]) -> Float[Tensor, " n"]:
        """Increase of each input's loss; without targets the squared change in units of the outputs' variance."""
        case = self.case
        if case.example_loss is None or case.targets is None:
            everything = case.outputs.to(torch.float64)
            variance = (everything - everything.mean(dim=0)).square().sum(dim=1).mean().clamp_min(1e-30)
            return ((after - self.before).to(torch.float64).square().sum(dim=1) / variance).cpu()
        targets = case.targets[self.rows].to(after.device)
        changed: Tensor = case.example_loss(after, targets) - case.example_loss(self.before, targets)
        return changed.to(torch.float64).cpu()

    def loss_change(self, costs: Float[Tensor, " n"]) -> float:
        """Mean of some costs where they are losses; NaN without targets."""
        return float("nan") if self.case.targets is None else float(costs.mean())

    def performance_change(self, after: Float[Tensor, "n C"]) -> float:
        """Percentage points of accuracy, or R^2, after less before."""
        targets = None if self.case.targets is None else self.case.targets[self.rows]
        return performance(after, targets, self.name) - performance(self.before, targets, self.name)

    def output_change(self, after: Float[Tensor, "n C"]) -> float:
        """||F' - F|| / ||F - mean of F||."""
        return relative_change(self.before, after)

    def kept(self, feature: str, after: Float[Tensor, "n C"]) -> float:
        """Percent of a feature's amplitude in the outputs that is left; NaN where they never held it."""
        if feature not in self.bases or not self.bases[feature].shape[1]:
            return float("nan")
        return amplitude_kept(self.before.cpu(), after.detach().cpu(), self.bases[feature])


@dataclass(frozen=True)
class Trial:
    """One intervention beside its controls.

    Attributes:
        labels: site, space, action, what, feature and the like, for the table.
        numbers: dose, accuracy_change, output_change and the like, for the table.
        costs: (n,) of the intervention.
        controls: (R, n) of random functions through the same map.
        principal: (n,) of as many principal components; None where there are none.
        least: the smallest effect that counts.
        against: what the controls are, in words.
    """

    labels: Mapping[str, str]
    numbers: Mapping[str, float]
    costs: Float[Tensor, " n"]
    controls: Float[Tensor, "R n"]
    principal: Float[Tensor, " n"] | None
    least: float
    against: str = "random functions"


@dataclass(frozen=True)
class Evidence:
    """A trial's effect beyond its controls.

    Attributes:
        effect: mean cost.
        control_mean, control_worst: over the controls' mean costs.
        low, high: 95 % interval of effect - control_mean.
        principal, principal_low, principal_high: mean cost of principal components, and interval of the effect less it.
        p, p_corrected: rank among the controls; corrected over the family.
        sentence: the verdict in words.
    """

    effect: float
    control_mean: float
    control_worst: float
    low: float
    high: float
    principal: float
    principal_low: float
    principal_high: float
    p: float
    p_corrected: float
    sentence: str


def evidence(trials: Sequence[Trial], resamples: int, generator: Generator) -> tuple[Evidence, ...]:
    """The evidence of each trial of one family."""
    if not trials:
        return ()
    means = torch.stack([torch.cat([each.costs[None], each.controls]).mean(dim=1) for each in trials])  # (T, 1 + R)
    z = _standardised(means)
    p = _rank(means[:, :1], means[:, 1:])
    corrected = torch.maximum(_rank(z[:, :1], z[:, 1:].amax(dim=0).expand(len(trials), -1)), p)
    weights = bootstrap_weights(len(trials[0].costs), resamples, generator)
    return tuple(
        _one(each, means[place], float(p[place]), float(corrected[place]), weights) for place, each in enumerate(trials)
    )


def _standardised(means: Float[Tensor, "T columns"]) -> Float[Tensor, "T columns"]:
    """Each row's values in units of their spread, long tails drawn in; 0 where they do not differ."""
    scale = means.abs().median(dim=1, keepdim=True).values
    x = torch.asinh(means / scale.clamp_min(1e-300))
    spread = x.std(dim=1, keepdim=True)
    found: Tensor = torch.where(spread > 1e-9, (x - x.mean(dim=1, keepdim=True)) / spread.clamp_min(1e-300), 0.0)
    return found


def _rank(own: Float[Tensor, "T 1"], others: Float[Tensor, "T R"]) -> Float[Tensor, " T"]:
    reached = (others >= own - 1e-12 * own.abs()).sum(dim=1)
    return (1 + reached) / (1 + others.shape[1])


def _one(
    trial: Trial, means: Float[Tensor, " columns"], p: float, corrected: float, weights: Float[Tensor, "B n"]
) -> Evidence:
    effect, controls = float(means[0]), means[1:]
    low, high = mean_interval(trial.costs - trial.controls.mean(dim=0), weights)
    principal = below = above = float("nan")
    if trial.principal is not None:
        principal = float(trial.principal.mean())
        below, above = mean_interval(trial.costs - trial.principal, weights)
    sentence = in_words((low, high), trial.least, corrected, (below, above), against=trial.against)
    if float(controls.max()) >= effect > float(controls.mean()):
        sentence += f"; the worst of the {trial.against} does as much"
    return Evidence(
        effect, float(controls.mean()), float(controls.max()), low, high, principal, below, above, p, corrected,
        sentence,
    )  # fmt: skip


def in_words(
    excess: tuple[float, float],
    least: float,
    p: float,
    over_principal: tuple[float, float],
    *,
    against: str = "random functions",
) -> str:
    """The verdict of one intervention.

    By the rule of `statistics.claims`: it does more than its controls where the interval of its effect beyond their
    mean, less the least effect that counts, lies above 0 and the corrected p is at most 0.05. It separates from
    principal components where the interval of the difference leaves 0 out.

    Args:
        excess: interval of effect - mean of controls.
        least: effect that counts.
        p: corrected.
        over_principal: interval of effect - that of principal components; NaN where there are none.
        against: what the controls are.
    """
    low, high = excess
    answer = verdict(Figure((low + high) / 2 - least, (low - least, high - least)), p)
    if high < 0:
        first = f"does less than {against}"
    elif answer == "does not hold" and low > 0:
        first = f"does more than {against} by less than counts"
    else:
        first = f"does more than {against}" if answer == "holds" else f"does not separate from {against}"
    below, above = over_principal
    if math.isnan(below):
        return first
    if below > 0:
        return f"{first}; does more than PCA"
    return f"{first}; does less than PCA" if above < 0 else f"{first}; does not separate from PCA"
