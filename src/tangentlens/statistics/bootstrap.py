"""Bootstrap intervals of any statistic of weighted rows, resampled within strata."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError

WeightedStatistic = Callable[[Tensor], Tensor]  # (B, N) how often each row counts -> (B, K)

_Rows = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True)
class Interval:
    """A figure of each of K things with the bounds of its interval.

    Attributes:
        value: the statistic where every row counts once.
        low, high: bounds of the interval.
    """

    value: Float[Tensor, " K"]
    low: Float[Tensor, " K"]
    high: Float[Tensor, " K"]


def stratified_bootstrap_interval(
    statistic: WeightedStatistic,
    within: Tensor,
    *,
    random: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Bias-corrected accelerated bootstrap interval (Efron 1987), rows resampled within their stratum.

    Strata keep what the design fixed: where windows were drawn by quotas, each class keeps its number. BCa and not
    percentiles, for an AUROC near 1 is skewed, and BCa does not depend on the scale that a figure is given on. Where it
    is not defined (all resamples equal, or all on one side of the value) the percentiles are given: an AUROC of exactly
    1 has the interval [1, 1], which then says that the sample cannot tell, not that there is no error.

    Args:
        statistic: (B, N) float64 numbers of times that each row counts -> (B, K).
        within: (N,) the stratum of each row; zeros for one stratum. A stratum of one row stays.
        random: source of the resamples.
        level: coverage of the interval.
        resamples: number of bootstrap samples.

    Raises:
        InvalidInputError: fewer than 2 rows, every stratum of one row, fewer than 1 resample, a level outside 0 to 1,
            or a statistic of another shape.
        NumericalError: the statistic is NaN or infinite for a resample.
    """
    strata = _checked_strata(within, level, resamples)
    fixed, resampled = _members(strata)
    rows = len(strata)

    def of_rows(*samples: _Rows, axis: int = -1) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        chosen = np.moveaxis(np.concatenate(samples, axis=axis), axis, -1)
        weights = _multiplicities(torch.from_numpy(chosen.reshape(-1, chosen.shape[-1])), rows) + fixed
        return np.asarray(_evaluate(statistic, weights).T.reshape(-1, *chosen.shape[:-1]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # seen to below
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            resampled,
            of_rows,
            vectorized=True,
            n_resamples=resamples,
            batch=256,
            confidence_level=level,
            method="BCa",
            rng=random,
        )
    tails = [(1 - level) / 2, (1 + level) / 2]
    percentiles = np.quantile(found.bootstrap_distribution, tails, axis=-1)
    low, high = (
        torch.from_numpy(np.where(np.isfinite(bound), bound, percentile))
        for bound, percentile in zip(found.confidence_interval, percentiles, strict=True)
    )
    return Interval(_evaluate(statistic, torch.ones(1, rows, dtype=torch.float64))[0], low, high)


def _members(strata: Int[Tensor, " N"]) -> tuple[Float[Tensor, " N"], tuple[_Rows, ...]]:
    """One for each row alone in its stratum, and the rows of every other stratum."""
    fixed, resampled = torch.zeros(len(strata), dtype=torch.float64), []
    for stratum in strata.unique():
        rows = (strata == stratum).nonzero()[:, 0]
        if len(rows) > 1:
            resampled.append(rows.numpy())
        else:
            fixed[rows] = 1
    return fixed, tuple(resampled)


def _multiplicities(chosen: Int[Tensor, "B n"], rows: int) -> Float[Tensor, "B N"]:
    counts = torch.zeros(len(chosen), rows, dtype=torch.float64)
    return counts.scatter_add_(1, chosen, torch.ones(chosen.shape, dtype=torch.float64))


def _evaluate(statistic: WeightedStatistic, weights: Float[Tensor, "B N"]) -> Float[Tensor, "B K"]:
    values = statistic(weights).to(torch.float64)
    if values.ndim != 2 or len(values) != len(weights) or values.shape[1] == 0:
        raise InvalidInputError(
            f"the statistic gave shape {tuple(values.shape)} for {len(weights)} resamples",
            where="statistic",
            remedy="Return a tensor of shape (B, K).",
        )
    if not bool(values.isfinite().all()):
        raise NumericalError(
            "the statistic is NaN or infinite for a resample",
            where="statistic",
            remedy="Choose strata that keep it defined.",
        )
    return values


def _checked_strata(within: Tensor, level: float, resamples: int) -> Int[Tensor, " N"]:
    if not 0 < level < 1 or resamples < 1:
        raise InvalidInputError(
            f"level={level}, resamples={resamples}",
            where="stratified_bootstrap_interval",
            remedy="Give a level between 0 and 1, and one resample or more.",
        )
    strata: Tensor
    distinct, strata = within.detach().cpu().unique(return_inverse=True)
    if within.ndim != 1 or len(distinct) == len(within) or not bool(within.isfinite().all()):
        raise InvalidInputError(
            f"strata of shape {tuple(within.shape)} leave nothing to resample",
            where="within",
            remedy="Give a finite vector with a stratum of 2 rows or more.",
        )
    return strata
