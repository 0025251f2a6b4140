import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.records import Figure
from tangentlens.report.numbers import (
    duration,
    interval,
    listing,
    mean_and_interval,
    notes_by_seeds,
    number,
    plain,
    several,
    span,
    spread,
    with_spread,
)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (94.4949, "percent", "94.5 %"),
        (84.34, "epoch", "84.3"),
        (56.0, "mode", "56"),
        (0.8886, "ratio", "0.889"),
        (0.9999912, "ratio", "0.999991"),
        (1.0, "ratio", "1"),
        (4.49e-14, "ratio", "4.5e-14"),
        (0.164, "seconds", "0.16 s"),
        (12.34, "seconds", "12.3 s"),
        (250.0, "seconds", "4 min 10 s"),
        (7322.0, "seconds", "2 h 2 min"),
        (None, "percent", "not measured"),
        (math.nan, "", "not measured"),
    ],
)
def test_numbers_as_words(value, unit, words):
    assert number(value, unit) == words


@given(st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_a_number_is_never_rounded_to_something_else(value):
    assert math.isclose(float(plain(value, decimals=3)), value, rel_tol=0.06, abs_tol=5e-4)


def test_intervals_and_counts():
    figure = Figure(94.5, (93.91, 95.14), 10, tuple(range(10)), "percent")
    assert interval(figure) == "93.9 to 95.1"
    assert with_spread(figure) == "94.5 % (93.9 to 95.1, n = 10)"
    assert spread(figure) == "95 % interval 93.9 to 95.1, n = 10"
    assert spread(Figure(1.0)) == "one seed, no interval"
    assert spread(Figure(None, n=0)) == spread(None) == "no seed has this figure"
    assert with_spread(Figure(84.34, unit="epoch")) == "84.3"
    assert with_spread(None) == "not measured"
    assert interval(None) == ""
    assert number(8.999891, "epoch") == "9.0"
    assert (span([93.12, 96.0], "percent"), span([2.0, 2.0])) == ("93.1 to 96.0 %", "2")
    assert (several(1, "seed"), several(3, "seed")) == ("one seed", "3 seeds")
    assert (listing(["a"]), listing(["a", "b", "c"])) == ("a", "a, b and c")
    assert duration(59.99) == "60.0 s"
    assert mean_and_interval(figure) == "94.5 % (93.9 to 95.1)"
    assert mean_and_interval(Figure(0.5)) == "0.500"
    assert mean_and_interval(Figure(1.0, (0.566, 1.0), 5, unit="share")) == "1 (0.566 to 1)"


def test_equal_notes_are_said_once():
    notes = [(0, "a"), (0, "b"), (1, "a"), (4, "a")]
    assert notes_by_seeds(notes) == [("seeds 0, 1 and 4", "a"), ("seed 0", "b")]
