import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

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
