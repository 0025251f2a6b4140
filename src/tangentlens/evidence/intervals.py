"""A mean with an interval, over seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from tangentlens.errors import InvalidInputError
from tangentlens.records import Figure


def mean_interval(values: Sequence[float], *, seeds: Sequence[int] = (), unit: str = "", level: float = 0.95) -> Figure:
    """Mean and Student t interval: mean +- t s / sqrt(n), t the (1 + level) / 2 quantile of n - 1 degrees of freedom.

    Values that are NaN or infinite (a seed that has no such figure) are left out: the figure's n and seeds are those of
    the values that count. One value has no interval; none gives the value None.

    Args:
        values: one number for each seed.
        seeds: the seeds in the same order; may be left out.
        unit: unit of the values.
        level: coverage of the interval.

    Raises:
        InvalidInputError: seeds and values differ in length, or the level is not between 0 and 1.
    """
    kept, kept_seeds = _finite(values, seeds, level)
    n = len(kept)
    interval = None
    if n > 1:
        spread = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(np.std(kept, ddof=1)) / math.sqrt(n)
        interval = (float(np.mean(kept)) - spread, float(np.mean(kept)) + spread)
    return Figure(float(np.mean(kept)) if n else None, interval, n, kept_seeds, unit)


def share_interval(
    values: Sequence[float], *, seeds: Sequence[int] = (), unit: str = "", level: float = 0.95
) -> Figure:
    """Share of ones among zeros and ones, with Wilson's score interval (1927), which stays between 0 and 1.

    Values that are NaN are left out as in `mean_interval`; none gives the value None.

    Args:
        values: 0 or 1 for each seed.
        seeds: the seeds in the same order; may be left out.
        unit: unit of the values.
        level: coverage of the interval.

    Raises:
        InvalidInputError: a value is neither 0 nor 1, seeds and values differ in length, or the level is not between
            0 and 1.
    """
    kept, kept_seeds = _finite(values, seeds, level)
    if not np.isin(kept, (0.0, 1.0)).all():
        raise InvalidInputError(f"a share counts zeros and ones, not {kept.tolist()}", where="values")
    n = len(kept)
    if n < 2:
        return Figure(float(kept[0]) if n else None, None, n, kept_seeds, unit)
    found = stats.binomtest(int(kept.sum()), n).proportion_ci(confidence_level=level, method="wilson")
    return Figure(float(np.mean(kept)), (float(found.low), float(found.high)), n, kept_seeds, unit)


def bootstrap_interval(
    values: Sequence[float],
    *,
    random: np.random.Generator,
    seeds: Sequence[int] = (),
    unit: str = "",
    level: float = 0.95,
    resamples: int = 9999,
) -> Figure:
    """Mean and bias-corrected accelerated bootstrap interval (Efron 1987); for skewed values, from about ten on.

    Values that are not finite are left out as in `mean_interval`. Equal values have the interval of width zero.

    Args:
        values: one number for each seed.
        random: source of the resamples.
        seeds: the seeds in the same order; may be left out.
        unit: unit of the values.
        level: coverage of the interval.
        resamples: number of bootstrap samples.

    Raises:
        InvalidInputError: seeds and values differ in length, or the level is not between 0 and 1.
    """
    kept, kept_seeds = _finite(values, seeds, level)
    n = len(kept)
    if n < 2:
        return Figure(float(kept[0]) if n else None, None, n, kept_seeds, unit)
    mean = float(np.mean(kept))
    if np.ptp(kept) == 0:
        return Figure(mean, (mean, mean), n, kept_seeds, unit)
    found = stats.bootstrap(
        (kept,), np.mean, n_resamples=resamples, confidence_level=level, method="BCa", random_state=random
    ).confidence_interval
    return Figure(mean, (float(found.low), float(found.high)), n, kept_seeds, unit)


def _finite(
    values: Sequence[float], seeds: Sequence[int], level: float
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], tuple[int, ...]]:
    if seeds and len(seeds) != len(values):
        raise InvalidInputError(
            f"{len(values)} values and {len(seeds)} seeds", where="seeds", remedy="Give one seed for each value."
        )
    if not 0 < level < 1:
        raise InvalidInputError(f"the level is {level}", where="level", remedy="Give a number between 0 and 1.")
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    finite = np.isfinite(array)
    return array[finite], tuple(seed for seed, keep in zip(seeds, finite.tolist(), strict=False) if keep)
