"""Factors on fewer positions and axes, against the kernels of the whole ones."""

import pytest
import torch

from tangentlens.kernels.compressed import CompressedKernel, FrameParts
from tangentlens.kernels.factors import Axes, Part, materialise
from tangentlens.kernels.truncation import token_energy, truncated, without_negligible_positions


def part(rank: int = 3, quiet: int = 2) -> Part:
    """Factors (N, R) = (5, 2) of a weight (7, 6) at 4 positions, of low rank on both sides, some positions silent."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left = draw(5, 4, 1, rank) @ draw(rank, 7)
    right = draw(2, 5, 4, 1, rank) @ draw(rank, 6)
    right[:, :, :quiet] = 0
    return Part(left, right, Axes((), (0,), (1,)), None, (7, 6))


def gram(factors: Part) -> torch.Tensor:
    rows = materialise(factors).flatten(2).flatten(0, 1)
    return rows @ rows.T


def kernel(factors: Part) -> torch.Tensor:
    return CompressedKernel((FrameParts((factors,)),), 2, "test").dense()


def test_products_from_factors_equal_the_gram_matrix_of_the_gradients():
    assert torch.allclose(kernel(part()), gram(part()))


def test_silent_positions_are_left_out_and_change_nothing():
    smaller, lost = without_negligible_positions(part(), 1e-12)
    assert smaller.right.shape[2] == 2
    assert lost < 1e-12
    assert torch.allclose(kernel(smaller), gram(part()))


def test_the_energy_left_out_is_what_it_says():
    whole = part(quiet=0)
    energy = token_energy(whole)
    smaller, lost = without_negligible_positions(whole, 0.3)
    assert smaller.right.shape[2] < 4
    assert 0 < lost <= 0.3
    assert lost == pytest.approx(1 - float(token_energy(smaller).sum() / energy.sum()))


def test_axes_beyond_the_rank_carry_nothing():
    smaller, lost = truncated(part(), 3, 3)
    assert smaller.left.shape[3] == smaller.right.shape[4] == 3
    assert lost < 1e-12
    own = Part(smaller.left, smaller.right, Axes((0,), (1,), (2,)), None, (1, 3, 3))
    assert torch.allclose(kernel(own), gram(part()))


def test_too_few_axes_lose_energy_and_say_so():
    _, lost = truncated(part(), 1, 1)
    assert 0.01 < lost < 1
