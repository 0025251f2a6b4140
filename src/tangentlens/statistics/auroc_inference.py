"""How sure the AUROC of a given score is, in closed form, for many scores and labels at once.

The area under the curve is the mean, over pairs of a positive and a negative, of 1 where the positive scores higher and
1/2 where they tie. DeLong, DeLong and Clarke-Pearson (1988) estimate its variance from what each input alone
contributes; Obuchowski (1997) does so where inputs come in clusters. Nothing may have been chosen on these inputs: what
chose the score, or its sign, used others.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata
from torch import Tensor

from tangentlens.alignment.ranking import checked_labels, rank
from tangentlens.errors import InvalidInputError

_Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class AUROCInference:
    """The AUROC of each of M scores for each of L labels, with its sign.

    Attributes:
        value: of sign * score, ties counted one half.
        low, high: bounds of its interval.
        p: one-sided, of the Mann-Whitney test that sign * score has nothing to do with the label; not corrected.
    """

    value: Float[Tensor, "M L"]
    low: Float[Tensor, "M L"]
    high: Float[Tensor, "M L"]
    p: Float[Tensor, "M L"]


def auroc_inference(
    scores: Tensor, labels: Tensor, signs: Tensor, *, clusters: Tensor | None = None, level: float = 0.95
) -> AUROCInference:
    """AUROC with an interval and a p-value, where the sign of each score was fixed beforehand.

    Interval: A the area and V its variance after Obuchowski (DeLong's where every input is a cluster of its own),
    logit A +- z sqrt(V) / (A (1 - A)), mapped back, so that it stays inside 0..1. Where V is zero (A is 0 or 1, or all
    scores tie) the largest variance that the area can have, A (1 - A) / min(m, n) (Birnbaum and Klose 1957), stands
    in for it in Wilson's form, with m and n the clusters that have a positive and a negative.

    p: normal approximation of the rank sum, with the tie correction and a continuity correction of 1/2. It takes the
    inputs, not the clusters, as exchangeable under the null hypothesis.

    Args:
        scores: (N, M), any real dtype.
        labels: (N, L), Boolean or 0 and 1, each with a positive and a negative.
        signs: (M, L), +1 where high scores are to go with the label, -1 where low ones.
        clusters: (N,) inputs that belong together have equal values; by default each stands alone.
        level: coverage of the intervals.

    Raises:
        InvalidInputError: shapes that do not fit, entries that are not allowed, a label that is the same for all
            inputs, or a level that is not between 0 and 1.
        NumericalError: scores hold NaN or infinity.
    """
    midranks, positive = rank(scores).midranks.T.numpy(), checked_labels(labels, len(scores)).numpy() == 1
    groups = _checked(signs, clusters, level, (midranks.shape[1], positive.shape[1]), len(scores))
    directions, z = signs.detach().cpu().to(torch.float64).numpy(), float(ndtri((1 + level) / 2))
    columns = [
        _one_label(midranks, positive[:, place], directions[:, place], groups, z) for place in range(positive.shape[1])
    ]
    return AUROCInference(*(torch.from_numpy(np.stack(each, axis=1)) for each in zip(*columns, strict=True)))


def _one_label(midranks: _Array, positive: np.ndarray, signs: _Array, groups: _Places, z: float) -> tuple[_Array, ...]:
    """(M,) value, low, high and p of one label."""
    area, variance = _area_and_variance(midranks, positive, groups)
    clusters = min(len(np.unique(groups[positive])), len(np.unique(groups[~positive])))
    low, high = area_bounds(area, variance, clusters, z)
    up = signs > 0
    p = ndtr(-_standardised_rank_sum(midranks, positive, signs))
    return np.where(up, area, 1 - area), np.where(up, low, 1 - high), np.where(up, high, 1 - low), p


def _area_and_variance(midranks: _Array, positive: np.ndarray, groups: _Places) -> tuple[_Array, _Array]:
    """(M,) areas and their variances from what each positive and each negative contributes.

    A rank among all less the rank among one's own kind counts the inputs of the other kind below, a tie one half.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = midranks + (len(midranks) + 1) / 2
    below = (ranks[positive] - rankdata(ranks[positive], axis=0)) / n  # (m, M) share of negatives below
    above = 1 - (ranks[~positive] - rankdata(ranks[~positive], axis=0)) / m  # (n, M) share of positives above
    area = below.mean(axis=0)
    total = int(groups.max()) + 1
    of_positives = _sums(below - area, groups[positive], total)
    of_negatives = _sums(above - area, groups[~positive], total)
    both = (of_positives * of_negatives).sum(axis=0) * 2 * _unbiased(total) / (m * n)
    variance = (
        (of_positives**2).sum(axis=0) * _unbiased(len(np.unique(groups[positive]))) / m**2
        + (of_negatives**2).sum(axis=0) * _unbiased(len(np.unique(groups[~positive]))) / n**2
        + both
    )
    return area, np.maximum(variance, 0)


def _sums(rows: _Array, groups: _Places, total: int) -> _Array:
    """(total, M) sums over the rows of each group, 0 for a group that has none."""
    sums = np.zeros((total, rows.shape[1]))
    np.add.at(sums, groups, rows)
    return sums


def _unbiased(clusters: int) -> float:
    return clusters / max(clusters - 1, 1)


def area_bounds(area: _Array, variance: _Array, clusters: int, z: float) -> tuple[_Array, _Array]:
    """Bounds of areas with these variances, on the scale of their logits; see `auroc_inference`."""
    known = (variance > 0) & (area > 0) & (area < 1)
    inside = np.where(known, area, 0.5)
    spread = z * np.sqrt(variance) / (inside * (1 - inside))
    middle = (area + z**2 / (2 * clusters)) / (1 + z**2 / clusters)
    half = z * np.sqrt(area * (1 - area) / clusters + z**2 / (4 * clusters**2)) / (1 + z**2 / clusters)
    low = np.where(known, expit(logit(inside) - spread), middle - half)
    high = np.where(known, expit(logit(inside) + spread), middle + half)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _standardised_rank_sum(midranks: _Array, positive: np.ndarray, signs: _Array) -> _Array:
    """(M,) rank sum of the positives over its spread when labels are permuted; minus infinity where all scores tie."""
    N, m = len(midranks), int(positive.sum())
    spread = np.sqrt((midranks**2).sum(axis=0) * m * (N - m) / (N * (N - 1)))
    excess = signs * midranks[positive].sum(axis=0) - 0.5
    standardised: _Array = np.divide(excess, spread, out=np.full(len(spread), -np.inf), where=spread > 0)
    return standardised


def _checked(signs: Tensor, clusters: Tensor | None, level: float, shape: tuple[int, int], rows: int) -> _Places:
    """A number from 0 for the cluster of each input; signs and level checked."""
    if not 0 < level < 1:
        raise InvalidInputError(f"the level is {level}", where="level", remedy="Give a number between 0 and 1.")
    if signs.shape != shape or not bool((signs.abs() == 1).all()):
        raise InvalidInputError(
            f"signs of shape {tuple(signs.shape)}", where="signs", remedy="Give +1 or -1, of shape (M, L)."
        )
    groups = torch.arange(rows) if clusters is None else clusters.detach().cpu()
    if groups.shape != (rows,):
        raise InvalidInputError(f"clusters of shape {tuple(groups.shape)} for {rows} inputs", where="clusters")
    return np.asarray(groups.unique(return_inverse=True)[1].numpy())
