"""Paired comparison of two methods on the same labels and windows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from tangentlens.alignment.ranking import WeightedMeasure
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.statistics.bootstrap import stratified_bootstrap_interval
from tangentlens.statistics.permutation import p_of_draws

_CHUNK = 64  # exchanges measured side by side


@dataclass(frozen=True)
class PairedComparison:
    """First method less second.

    Attributes:
        difference: of the measure, for each label.
        low, high: bounds of its 95 % interval, each label alone.
        p: two-sided, for each label alone.
        p_family: two-sided, against the largest difference over the labels (single-step maxT).
        macro_difference: the mean over labels.
        macro_interval: bounds of its interval.
        macro_p: two-sided.
    """

    difference: Float[Tensor, " L"]
    low: Float[Tensor, " L"]
    high: Float[Tensor, " L"]
    p: Float[Tensor, " L"]
    p_family: Float[Tensor, " L"]
    macro_difference: float
    macro_interval: tuple[float, float]
    macro_p: float


def paired_comparison(
    measure: WeightedMeasure,
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    within: Tensor,
    *,
    random: np.random.Generator,
    resamples: int = 2000,
    permutations: int = 1000,
) -> PairedComparison:
    """Difference of a measure between two methods' scores, with paired bootstrap intervals and exchange p-values.

    Interval: both methods are measured on the same resamples of the windows (`stratified_bootstrap_interval`). p: where
    the methods are alike, a window's pair of ranks could as well be exchanged; each random order exchanges the pairs of
    about half the windows, all labels of a window together (Venkatraman and Begg 1996). That null is a little more than
    equal measures, it is equal curves; ranks are taken before the exchange, which makes the test approximate.

    Args:
        measure: (scores (N, L), labels (N, L), weights (B, N)) -> (B, L); `weighted_auroc` or
            `weighted_average_precision`.
        first: (N, L) scores of one method, those that it chose for each label on other windows.
        second: (N, L) of the other.
        labels: (N, L), Boolean or 0 and 1.
        within: (N,) strata of the bootstrap; zeros for one stratum.
        random: source of resamples and exchanges.
        resamples: number of bootstrap samples.
        permutations: number of random exchanges.

    Raises:
        InvalidInputError: shapes that do not fit, fewer than 1 resample or exchange, or what the measure refuses.
        NumericalError: scores hold NaN or infinity, or a measure that is not defined for a resample.
    """
    if first.shape != second.shape or first.shape != labels.shape or first.ndim != 2 or len(within) != len(first):
        raise InvalidInputError(
            f"scores {tuple(first.shape)} and {tuple(second.shape)}, labels {tuple(labels.shape)}, strata "
            f"{tuple(within.shape)} do not fit",
            where="paired_comparison",
            remedy="Give (N, L) to both methods and to the labels, and (N,) strata.",
        )
    if permutations < 1:
        raise InvalidInputError(f"permutations={permutations}", where="permutations", remedy="Give 1 or more.")

    def differences(weights: Float[Tensor, "B N"]) -> Float[Tensor, "B K"]:
        found = measure(first, labels, weights) - measure(second, labels, weights)
        return torch.cat([found, found.mean(dim=1, keepdim=True)], dim=1)

    null = _exchanged(measure, _ranks(first), _ranks(second), labels, random, permutations).abs()
    interval = stratified_bootstrap_interval(differences, within, random=random, resamples=resamples)
    observed = interval.value.abs()
    return PairedComparison(
        difference=interval.value[:-1],
        low=interval.low[:-1],
        high=interval.high[:-1],
        p=p_of_draws(null[:, :-1], observed[:-1]),
        p_family=p_of_draws(null[:, :-1].amax(dim=1, keepdim=True), observed[:-1]),
        macro_difference=float(interval.value[-1]),
        macro_interval=(float(interval.low[-1]), float(interval.high[-1])),
        macro_p=float(p_of_draws(null[:, -1], observed[-1])),
    )


def _exchanged(
    measure: WeightedMeasure,
    first: Float[Tensor, "N L"],
    second: Float[Tensor, "N L"],
    labels: Tensor,
    random: np.random.Generator,
    count: int,
) -> Float[Tensor, "count K"]:
    """Differences of every label and of their mean after random exchanges; the labels of an exchange side by side."""
    n, L = labels.shape
    once, found = torch.ones(1, n, dtype=torch.float64), []
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        swap = torch.from_numpy(random.random((n, size, 1)) < 0.5)
        pair = (first[:, None], second[:, None])
        mine, other = (torch.where(swap, *order).reshape(n, size * L) for order in (pair, pair[::-1]))
        repeated = labels.repeat(1, size)
        found.append((measure(mine, repeated, once) - measure(other, repeated, once)).reshape(size, L))
    differences = torch.cat(found)
    return torch.cat([differences, differences.mean(dim=1, keepdim=True)], dim=1)


def _ranks(scores: Tensor) -> Float[Tensor, "N L"]:
    values = scores.detach().cpu().to(torch.float64)
    if not bool(values.isfinite().all()):
        raise NumericalError("the scores hold NaN or infinity", where="paired_comparison")
    return torch.from_numpy(rankdata(values.numpy(), axis=0))
