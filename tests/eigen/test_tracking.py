"""A mode keeps its identity while eigenvalues cross, split and merge."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.eigen.dense import dense_eigenpairs
from tangentlens.eigen.tracking import degenerate_blocks, match_modes, track_modes
from tangentlens.errors import InvalidInputError
from tangentlens.operators import DenseOperator
from tangentlens.records import Eigenpairs
from tests.support.eigen_cases import rotation


def checkpoint(values, vectors):
    """Eigenpairs of sum_i values_i v_i v_i^T, in descending order, with the order that sorted them."""
    matrix = (vectors * values) @ vectors.T
    return dense_eigenpairs(DenseOperator((matrix + matrix.T) / 2), len(values), 1e-6)


def exact(values, vectors):
    k = len(values)
    return Eigenpairs(values, vectors, torch.zeros(k, dtype=torch.float64), torch.ones(k, dtype=torch.bool), 0)


def test_identity_survives_crossings():
    """Six modes, fixed in space but for a slow common rotation, whose eigenvalues sweep through each other."""
    Q, generator = rotation(6), torch.Generator().manual_seed(2)
    skew = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    turn = torch.linalg.matrix_exp(0.01 * (skew - skew.T))
    starts, slopes = torch.tensor([10, 8, 6, 4, 2, 1.0]).double(), torch.tensor([-9, -1, 3, 0, 7, 11.3]).double()
    checkpoints, families = [], []
    for t in torch.linspace(0, 1, 24).double():
        checkpoints.append(checkpoint(starts + t * slopes, Q))
        families.append(starts + t * slopes)
        Q = turn @ Q
    tracks = track_modes(checkpoints)
    torch.testing.assert_close(tracks.values, torch.stack(families))
    assert float(tracks.overlaps.min()) > 0.9
    assert not tracks.positions[-1].equal(tracks.positions[0])


@given(st.permutations(range(8)), st.integers(0, 100))
def test_a_permutation_with_signs_is_recovered(order, seed):
    order = torch.tensor(order)
    Q = rotation(12, seed)[:, :8]
    signs = 1.0 - 2.0 * (torch.arange(8) % 2).double()
    values = torch.arange(8, 0, -1).double()
    matching = match_modes(exact(values, Q), exact(values, (Q * signs)[:, order]))
    assert order[matching.successors].equal(torch.arange(8))
    torch.testing.assert_close(matching.overlaps, torch.ones(8, dtype=torch.float64))


def test_degenerate_spaces_are_matched_whole():
    """Vectors turned inside their spaces, and the spaces exchanged: every mode goes to the right space, fully."""
    Q, inner = rotation(10), rotation(4, 4)
    values = torch.tensor([5, 3, 3, 3, 3, 1.0]).double()
    later_values = torch.tensor([5, 5, 5, 5, 4, 1.0]).double()
    later = torch.cat([Q[:, 1:5] @ inner, Q[:, :1], Q[:, 5:6]], dim=1)
    matching = match_modes(exact(values, Q[:, :6]), exact(later_values, later))
    assert matching.successors.tolist() == [4, 0, 1, 2, 3, 5]
    torch.testing.assert_close(matching.overlaps, torch.ones(6, dtype=torch.float64))


def test_a_space_that_splits_is_found_again_in_its_parts():
    Q, inner = rotation(10), rotation(4, 4)
    together = exact(torch.tensor([3, 3, 3, 3.0]).double(), Q[:, :4])
    apart = exact(torch.tensor([4, 3, 2, 1.0]).double(), Q[:, :4] @ inner)
    for earlier, later in ((together, apart), (apart, together)):
        matching = match_modes(earlier, later)
        assert matching.successors.tolist() == [0, 1, 2, 3]
        torch.testing.assert_close(matching.overlaps, torch.ones(4, dtype=torch.float64))


def test_values_closer_than_their_errors_share_a_block():
    values = torch.tensor([4, 3, 2.99, 1.0]).double()
    pairs = Eigenpairs(values, torch.eye(4).double(), 0.01 / values, values > 0, 4)
    assert degenerate_blocks(pairs).tolist() == [0, 1, 1, 2]
    assert degenerate_blocks(exact(values, torch.eye(4).double())).tolist() == [0, 1, 2, 3]


def test_a_mode_that_leaves_shows_as_a_break():
    Q, values = rotation(10), torch.tensor([3, 2, 1.0]).double()
    tracks = track_modes([exact(values, Q[:, :3]), exact(values, Q[:, [0, 3, 2]])])
    assert float(tracks.overlaps[0, 1]) < 1e-7
    assert float(tracks.overlaps[0, [0, 2]].min()) > 0.999


def test_one_checkpoint_is_a_track():
    tracks = track_modes([exact(torch.tensor([2, 1.0]).double(), torch.eye(4)[:, :2].double())])
    assert tracks.positions.tolist() == [[0, 1]]
    assert tracks.overlaps.shape == (0, 2)


def test_what_cannot_be_matched():
    values = torch.tensor([2, 1.0]).double()
    with pytest.raises(InvalidInputError, match="no checkpoint"):
        track_modes([])
    with pytest.raises(InvalidInputError, match="same inputs"):
        match_modes(exact(values, torch.eye(4)[:, :2].double()), exact(values, torch.eye(5)[:, :2].double()))
