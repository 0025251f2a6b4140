import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.report.cards.neighbours import by_directions, by_scores


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
