import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.report.pictures import signed_picture
from tests.support.png import read_png


def decode(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rows, columns) and palette (256, 3)."""
    level, palette = read_png(base64.b64decode(source.removeprefix("data:image/png;base64,")))
    assert palette is not None
    return level, palette


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_colours_are_symmetric_about_zero_and_keep_the_order(rows, columns, seed):
    values = np.random.default_rng(seed).standard_normal((rows, columns))
    level, _ = decode(signed_picture(values))
    opposite, _ = decode(signed_picture(-values))
    assert level.shape == values.shape
    assert (np.abs(level.astype(int) + opposite - 255) <= 1).all()
    order = np.argsort(values, axis=None)
    assert (np.diff(level.reshape(-1)[order].astype(int)) >= 0).all()


def test_negative_is_blue_and_positive_red_and_nothing_divides_by_zero():
    level, palette = decode(signed_picture(np.array([[-0.6, 0.0, 0.6]])))
    blue, pale, red = palette[[64, 128, 191]].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert pale.min() > 190
    assert (level[0, 0], level[0, 2]) == (0, 255)
    decode(signed_picture(np.zeros((3, 3))))
