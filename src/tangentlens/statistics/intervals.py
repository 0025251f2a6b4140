"""A mean with an interval, over seeds."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from tangentlens.errors import InvalidInputError
from tangentlens.records import Figure

_Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


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

    def student(kept: _Vector) -> tuple[float, float]:
        n, mean = len(kept), float(np.mean(kept))
        spread = float(stats.t.ppf((1 + level) / 2, n - 1)) * float(np.std(kept, ddof=1)) / math.sqrt(n)
        return mean - spread, mean + spread

    return _figure(values, seeds, unit, level, student)


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

    def wilson(kept: _Vector) -> tuple[float, float]:
        found = stats.binomtest(int(kept.sum()), len(kept)).proportion_ci(confidence_level=level, method="wilson")
        return float(found.low), float(found.high)

    strays = [value for value in values if math.isfinite(value) and value not in (0, 1)]
    if strays:
        raise InvalidInputError(f"a share counts zeros and ones, not {strays}", where="values")
    return _figure(values, seeds, unit, level, wilson)


def _figure(
    values: Sequence[float],
    seeds: Sequence[int],
    unit: str,
    level: float,
    bounds: Callable[[_Vector], tuple[float, float]],
) -> Figure:
    """Mean of the finite values with the bounds that two of them or more give."""
    if seeds and len(seeds) != len(values):
        raise InvalidInputError(
            f"{len(values)} values and {len(seeds)} seeds", where="seeds", remedy="Give one seed for each value."
        )
    if not 0 < level < 1:
        raise InvalidInputError(f"the level is {level}", where="level", remedy="Give a number between 0 and 1.")
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    finite = np.isfinite(array)
    kept, n = array[finite], int(finite.sum())
    kept_seeds = tuple(seed for seed, keep in zip(seeds, finite.tolist(), strict=False) if keep)
    return Figure(float(np.mean(kept)) if n else None, bounds(kept) if n > 1 else None, n, kept_seeds, unit)
