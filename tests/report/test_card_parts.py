import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tangentlens.report.cards.histograms import histograms
from tangentlens.report.cards.neighbours import by_directions, by_scores
from tangentlens.report.cards.packed import pack, pack_counts, quantise, unpack

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=4), elements=FLOATS))
def test_numbers_come_back_from_json(values):
    packed = pack(values)
    assert json.loads(json.dumps(asdict(packed)))["dtype"] == "f4"
    np.testing.assert_array_equal(unpack(packed), values)


@pytest.mark.parametrize(("largest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4")])
def test_counts_take_the_fewest_bytes(largest, dtype):
    packed = pack_counts(np.array([0, largest]))
    assert packed.dtype == dtype
    assert unpack(packed).tolist() == [0, largest]
    assert unpack(pack_counts(np.empty((0, 3), np.int64))).shape == (0, 3)


@given(arrays.arrays(np.float64, (3, 5), elements=st.floats(-1e6, 1e6)))
def test_quantised_numbers_are_off_by_half_a_step_at_most(values):
    numbers, step = quantise(values)
    assert numbers.dtype == np.int8
    error = np.abs(numbers * step[:, None].astype(np.float64) - values)
    assert (error <= (0.5 + 1e-4) * step[:, None] + 1e-30).all()


def test_what_is_no_number_is_quantised_to_nothing():
    numbers, step = quantise(np.array([[np.nan, np.inf, 1.0], [0.0, 0.0, 0.0]]))
    assert numbers.tolist() == [[0, 0, 127], [0, 0, 0]]
    assert step[1] == 0


def test_histograms_count_every_window_of_its_class_once():
    random = np.random.default_rng(0)
    scores = random.standard_normal((2, 40, 3)).astype(np.float32)
    classes = [("b", "a", "z")[i % 3] for i in range(40)]
    found = histograms(scores, classes, order=("z",), bins=7)
    assert found.classes == ("z", "a", "b")
    assert found.counts.shape == (2, 3, 3, 7)
    sizes = [classes.count(name) for name in found.classes]
    assert (found.counts.sum(axis=3) == sizes).all()
    expected, _ = np.histogram(scores[1, [i for i in range(40) if classes[i] == "a"], 2], 7, tuple(found.edges[1, 2]))
    assert found.counts[1, 2, 1].tolist() == expected.tolist()


def test_equal_scores_fall_into_one_bin():
    found = histograms(np.zeros((1, 5, 1)), ["a"] * 5)
    assert found.counts.max() == 5


def test_a_copy_in_another_layer_is_the_nearest_whatever_its_sign():
    random = np.random.default_rng(1)
    scores = random.standard_normal((3, 50, 4))
    scores[2, :, 1] = 5 - 2 * scores[0, :, 3]
    found = by_scores(scores, count=2)
    assert found.modes[0, 3, 0] == 2 * 4 + 1
    assert found.similarity[0, 3, 0] == pytest.approx(-1.0)
    assert found.modes[2, 1, 0] == 3


@given(st.integers(1, 4), st.integers(1, 3))
def test_neighbours_are_of_other_layers_and_sorted(layers, modes):
    directions = np.random.default_rng(layers).standard_normal((layers, modes, 6))
    directions[0, 0] = 0
    found = by_directions(directions, count=5)
    own = np.arange(layers)[:, None, None]
    assert found.modes.shape[2] == min(5, (layers - 1) * modes)
    assert (found.modes // modes != own).all()
    assert (np.diff(np.abs(found.similarity), axis=2) <= 0).all()
    assert not found.similarity[0, 0].any()
