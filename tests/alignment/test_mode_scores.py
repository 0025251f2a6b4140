"""Rank-one pictures of modes."""

import pytest
import torch

from tangentlens.alignment.mode_scores import mode_scores
from tangentlens.errors import InvalidInputError


def test_a_mode_of_rank_one_is_found_up_to_its_sign():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    directions = torch.linalg.qr(torch.randn(5, 3, generator=generator, dtype=torch.float64))[0]
    found = mode_scores(torch.einsum("nk,ck->nck", scores, directions))
    agree = (found.scores * scores).sum(0).sign()
    assert torch.allclose(found.scores * agree, scores)
    assert torch.allclose(found.directions * agree, directions)
    assert torch.allclose(found.shares, torch.ones(3, dtype=torch.float64))


def test_the_share_is_the_part_of_the_norm_and_the_largest_score_is_positive():
    mode = torch.diag(torch.tensor([-3.0, 1.0, 0.0]))[:, :, None]
    found = mode_scores(mode)
    assert float(found.shares) == pytest.approx(0.9)
    assert float(found.scores.abs().max()) == pytest.approx(float(found.scores.max())) == pytest.approx(3.0)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_the_first_singular_pair_is_that_of_the_full_decomposition(shape):
    modes = torch.randn(*shape, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = mode_scores(modes)
    left, sizes, right = torch.linalg.svd(modes.permute(2, 0, 1), full_matrices=False)
    picture = torch.einsum("kn,k,kc->nck", left[:, :, 0], sizes[:, 0], right[:, 0])
    assert torch.allclose(torch.einsum("nk,ck->nck", found.scores, found.directions), picture)
    assert torch.allclose(found.shares, sizes[:, 0].square() / sizes.square().sum(1))


def test_a_mode_that_is_zero_has_no_share():
    assert float(mode_scores(torch.zeros(4, 2, 1)).shares) == 0.0


def test_no_modes_are_refused():
    with pytest.raises(InvalidInputError, match="expected modes"):
        mode_scores(torch.zeros(4, 2))
