import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tangentlens.errors import InvalidInputError
from tangentlens.statistics.intervals import mean_interval, share_interval

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@settings(deadline=None)
@given(values=VALUES)
def test_interval_is_the_one_that_a_t_test_inverts(values: list[float]) -> None:
    figure = mean_interval(values, unit="percent")
    assert figure.interval is not None
    assert figure.value == pytest.approx(float(np.mean(values)), abs=1e-6)
    if np.std(values) > 1e-3:
        for bound in figure.interval:
            assert stats.ttest_1samp(values, bound).pvalue == pytest.approx(0.05, rel=1e-4)


def test_covers_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        low, high = mean_interval(random.normal(3.0, 1.0, size=6).tolist()).interval or (0.0, 0.0)
        hits += low <= 3.0 <= high
    assert hits / 2000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    figure = mean_interval([1.0, math.nan, 3.0, math.inf], seeds=[4, 5, 6, 7])
    assert (figure.value, figure.n, figure.seeds) == (2.0, 2, (4, 6))
    assert figure.interval == mean_interval([1.0, 3.0]).interval


def test_one_value_has_no_interval_and_none_has_no_value() -> None:
    one, none = mean_interval([2.5], seeds=[0]), mean_interval([math.nan], seeds=[0])
    assert (one.value, one.interval, one.n) == (2.5, None, 1)
    assert (none.value, none.interval, none.n, none.seeds) == (None, None, 0, ())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="2 values and 1 seeds"):
        mean_interval([1.0, 2.0], seeds=[0])
    with pytest.raises(InvalidInputError, match="level"):
        mean_interval([1.0, 2.0], level=95.0)


def test_a_share_has_an_interval_between_nought_and_one_that_covers():
    figure = share_interval([1.0] * 9 + [0.0], seeds=range(10), unit="share")
    assert figure.value == pytest.approx(0.9)
    # Wilson (1927): (k + z^2/2 +- z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2)
    z = 1.959963984540054
    half = z * (9 * 1 / 10 + z**2 / 4) ** 0.5
    assert figure.interval == pytest.approx(((9 + z**2 / 2 - half) / (10 + z**2), (9 + z**2 / 2 + half) / (10 + z**2)))
    certain = share_interval([1.0] * 10)
    assert certain.interval is not None
    assert certain.interval[0] < 1 <= certain.interval[1] + 1e-12


def test_a_share_is_of_zeros_and_ones():
    with pytest.raises(InvalidInputError, match="zeros and ones"):
        share_interval([0.5, 1.0])
    assert share_interval([float("nan")]).value is None
