"""Scores on the scoring half with what every input contributes to them, so that two methods can be compared in pairs.

A score s of the inputs has influences u_i such that its variance is sum u_i^2; those of a difference of two scores on
the same inputs, and of a mean of several, are the difference and the mean of the influences. An AUROC has those of
DeLong, DeLong and Clarke-Pearson (1988), an R^2 those of the infinitesimal jackknife (Efron 1982), and an overlap one
for each of 20 blocks of inputs that are left out (the delete-a-group jackknife). p-values follow in closed form: a
bootstrap of a thousand samples has none below a thousandth, too coarse to correct for thousands of comparisons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import norm, rankdata
from torch import Generator, Tensor

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.questions.scoring import Choice, choose, correlation, overlap_percent, rows_of
from tangentlens.analysis.subject import Split
from tangentlens.statistics.auroc_inference import area_bounds

_BLOCKS = 20
_Z = float(norm.ppf(0.975))
RANGES = {"auroc": (0.0, 1.0), "r2": (-math.inf, 1.0), "overlap": (0.0, 100.0)}


@dataclass(frozen=True)
class Scored:
    """A score and the influence of every input, or of every block of inputs, on it.

    Attributes:
        value: the score; NaN where it is not defined.
        influences: their squares add up to its variance.
        smaller: of an AUROC, the number of positives or of negatives, whichever is less; else 0.
    """

    value: float
    influences: Float[Tensor, " u"] = field(repr=False)
    smaller: int = 0

    @property
    def error(self) -> float:
        """Standard error."""
        return float(self.influences.square().sum().sqrt())

    def interval(self, metric: str) -> tuple[float, float]:
        """95 %: of one AUROC on the scale of its logit, else normal; within the range of the metric."""
        if self.smaller and math.isfinite(self.value):
            area, variance = np.array([self.value]), np.array([self.error**2])
            bounds = area_bounds(area, variance, self.smaller, _Z)
            return float(bounds[0][0]), float(bounds[1][0])
        least, most = RANGES[metric]
        return max(least, self.value - _Z * self.error), min(most, self.value + _Z * self.error)


def less(first: Scored, second: Scored) -> Scored:
    """The first less the second, on the same inputs."""
    return Scored(first.value - second.value, first.influences - second.influences)


def mean(scores: Sequence[Scored]) -> Scored:
    """The mean of scores on the same inputs."""
    values = sum(each.value for each in scores) / len(scores)
    return Scored(values, torch.stack([each.influences for each in scores]).mean(dim=0))


def bounds(difference: Scored) -> tuple[float, float]:
    """95 % interval of a difference."""
    return difference.value - _Z * difference.error, difference.value + _Z * difference.error


def p_above(difference: Scored, least: float) -> float:
    """One-sided p that a difference does not exceed `least`; 1 where it has no error."""
    excess = difference.value - least
    return float(norm.sf(excess / difference.error)) if difference.error > 0 else 1.0


@dataclass(frozen=True)
class Scorer:
    """Scores of columns on features: chosen on one half, scored on the other.

    Attributes:
        halves: of the inputs.
        blocks: of the scoring half, for overlaps; see `scorer`.
    """

    halves: Split
    blocks: tuple[Tensor, ...]

    def chosen(self, columns: Float[Tensor, "N d"], feature: Feature, choice: Choice) -> Scored:
        """The score of the chosen column of a binary or real feature."""
        rows = rows_of(feature, self.halves.test)
        column, target = columns[rows, choice.mode].to(torch.float64), feature.values[rows, 0]
        found = area(choice.sign * column, target) if feature.kind == "binary" else explained(column, target, choice)
        influences = torch.zeros(len(columns), dtype=torch.float64)
        influences[rows] = found.influences
        return replace(found, influences=influences)

    def space(self, columns: Float[Tensor, "N d"], feature: Feature) -> Scored:
        """Percent of the feature's space inside the span of the columns, over the scoring half."""
        rows = rows_of(feature, self.halves.test)
        kept = [rows[~torch.isin(rows, block)] for block in self.blocks]
        values = torch.tensor([overlap_percent(columns[part], feature.values[part]) for part in kept])
        scale = ((len(kept) - 1) / len(kept)) ** 0.5
        influences = scale * (values - values.mean()).to(torch.float64)
        return Scored(overlap_percent(columns[rows], feature.values[rows]), influences)


def scorer(halves: Split, generator: Generator) -> Scorer:
    """A scorer with random blocks of the scoring half."""
    shuffled = halves.test[torch.randperm(len(halves.test), generator=generator)]
    return Scorer(halves, tuple(shuffled.tensor_split(min(_BLOCKS, len(shuffled)))))


def area(scores: Float[Tensor, " n"], labels: Float[Tensor, " n"]) -> Scored:
    """AUROC with DeLong's influences."""
    values, positive = scores.numpy(), labels.numpy() == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) == 0:
        return Scored(math.nan, torch.full((len(scores),), math.nan, dtype=torch.float64))
    ranks = rankdata(values)
    below = (ranks[positive] - rankdata(values[positive])) / n
    above = 1 - (ranks[~positive] - rankdata(values[~positive])) / m
    influences = np.zeros(len(values))
    influences[positive] = (below - below.mean()) / math.sqrt(m * max(m - 1, 1))
    influences[~positive] = (above - above.mean()) / math.sqrt(n * max(n - 1, 1))
    return Scored(float(below.mean()), torch.from_numpy(influences), min(m, n))


def explained(column: Float[Tensor, " n"], target: Float[Tensor, " n"], choice: Choice) -> Scored:
    """R^2 of the line fitted on the choosing half, with the influences of the infinitesimal jackknife."""
    intercept, slope = choice.line
    missed = (target - intercept - slope * column).square()
    around = (target - target.mean()).square()
    a, b, n = missed.mean(), around.mean(), len(target)
    if not float(b) > 0:
        return Scored(math.nan, torch.full((n,), math.nan, dtype=torch.float64))
    influences = (a / b * (around - b) - (missed - a)) / b / n
    return Scored(float(1 - a / b), influences)


def choices(columns: Float[Tensor, "N d"], features: Sequence[Feature], halves: Split) -> dict[str, Choice]:
    """`choose` for every binary and real feature; columns are ranked once for the features that all inputs have."""
    whole = [each for each in features if each.kind != "space" and bool(each.present[halves.train].all())]
    found: dict[str, Choice] = {}
    for kind in ("binary", "real"):
        group = [each for each in whole if each.kind == kind]
        if group:
            targets = torch.cat([each.values[halves.train] for each in group], dim=1)
            best = _relation(columns[halves.train], targets, kind).abs().argmax(dim=0).tolist()
            for feature, mode in zip(group, best, strict=True):
                found[feature.name] = replace(choose(columns[:, mode : mode + 1], feature, halves), mode=mode)
    for each in features:
        if each.kind != "space" and each.name not in found:
            found[each.name] = choose(columns, each, halves)
    return found


def _relation(columns: Float[Tensor, "n d"], targets: Float[Tensor, "n P"], kind: str) -> Float[Tensor, "d P"]:
    """AUROC less one half, or correlation, of every column with every target."""
    if kind == "real":
        return correlation(columns, targets)
    midranks = torch.from_numpy(rankdata(columns.numpy().T, axis=1)) - (len(columns) + 1) / 2
    positives = targets.sum(dim=0)
    relation: Tensor = midranks @ targets / (positives * (len(targets) - positives))
    return relation


def quality(columns: Float[Tensor, "N d"], features: Sequence[Feature], halves: Split) -> float:
    """How well the best column of every feature goes with it on the choosing half, from 0 to 1, averaged.

    |2 AUROC - 1| for a binary feature, the squared correlation for a real one, the overlap for a space.
    """
    found = choices(columns, features, halves)
    values = []
    for feature in features:
        rows = rows_of(feature, halves.train)
        if feature.kind == "space":
            values.append(overlap_percent(columns[rows], feature.values[rows]) / 100)
            continue
        column, target = columns[rows, found[feature.name].mode][:, None], feature.values[rows]
        relation = float(_relation(column, target, feature.kind))
        values.append(2 * abs(relation) if feature.kind == "binary" else relation**2)
    return sum(values) / len(values)
