"""Factors on fewer positions and axes, against the kernels of the whole ones."""

import pytest
import torch

from tangentlens.kernels.factored.factors import Axes, Factors, materialise
from tangentlens.language.sweep.compressed import CompressedKernel, ViewFactors
from tangentlens.language.sweep.truncation import token_energy, truncated, without_negligible_positions


def factors(rank: int = 3, quiet: int = 2, positions: int = 4) -> Factors:
    """Factors (N, R) = (5, 2) of a weight (7, 6) at some positions, some silent, of low rank on both sides."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left = draw(5, positions, 1, rank) @ draw(rank, 7)
    right = draw(2, 5, positions, 1, rank) @ draw(rank, 6)
    right[:, :, :quiet] = 0
    return Factors(left, right, Axes((), (0,), (1,)), None, (7, 6))


def gram(factors: Factors) -> torch.Tensor:
    rows = materialise(factors).flatten(2).flatten(0, 1)
    return rows @ rows.T


def kernel(factors: Factors) -> torch.Tensor:
    return CompressedKernel((ViewFactors((factors,)),), 2, "test").dense()


def test_products_from_factors_equal_the_gram_matrix_of_the_gradients():
    assert torch.allclose(kernel(factors()), gram(factors()))


def test_silent_positions_are_left_out_and_change_nothing():
    smaller, lost = without_negligible_positions(factors(), 1e-12)
    assert smaller.right.shape[2] == 2
    assert lost < 1e-12
    assert torch.allclose(kernel(smaller), gram(factors()))


@pytest.mark.parametrize(("quiet", "kept"), [(2, 6), (1, 8)])
def test_factors_that_would_hardly_be_smaller_are_not_copied(quiet: int, kept: int):
    whole = factors(quiet=quiet, positions=8)
    found, lost = without_negligible_positions(whole, 1e-12)
    assert found.right.shape[2] == kept
    assert (found is whole) == (kept == 8)
    assert lost < 1e-12


def test_the_energy_left_out_is_what_it_says():
    whole = factors(quiet=0)
    energy = token_energy(whole)
    smaller, lost = without_negligible_positions(whole, 0.3)
    assert smaller.right.shape[2] < 4
    assert 0 < lost <= 0.3
    assert lost == pytest.approx(1 - float(token_energy(smaller).sum() / energy.sum()))


def own_axes(factors: Factors) -> Factors:
    """The factors as those of a weight of their own size."""
    left = factors.one_hot or factors.left.shape[3]
    heads, right = factors.right.shape[3:]
    return Factors(factors.left, factors.right, Axes((0,), (1,), (2,)), factors.one_hot, (heads, left, right))


def test_axes_beyond_the_rank_carry_nothing():
    smaller = truncated(factors(), 3, 3)
    assert smaller.left.shape[3] == smaller.right.shape[4] == 3
    assert torch.allclose(kernel(own_axes(smaller)), gram(factors()))


def test_vanishing_gradients_and_one_hot_codes_are_truncated_too():
    silent = factors(quiet=4)
    assert float(kernel(own_axes(truncated(silent, 2, 2))).abs().max()) == 0
    whole = factors()
    codes = Factors(torch.arange(20).reshape(5, 4) % 7, whole.right, whole.axes, 7, (7, 6))
    assert torch.allclose(kernel(own_axes(truncated(codes, 3, 3))), gram(codes))


@pytest.mark.parametrize("heads", [1, 2])
def test_few_axes_hold_nearly_as_much_as_the_best(heads: int):
    generator = torch.Generator().manual_seed(1)
    N, R, T, A, B, few = 40, 3, 6, 60, 50, 8

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    windows = torch.logspace(0, -2, N, dtype=torch.float64)[:, None, None, None]  # few windows carry most of it
    left = windows * draw(N, T, heads, A) * torch.logspace(0, -2, A, dtype=torch.float64)
    right = draw(R, N, T, heads, B) * torch.logspace(0, -2, B, dtype=torch.float64).flip(0)
    smaller = truncated(Factors(left, right, Axes((0,), (1,), (2,)), None, (heads, A, B)), few, few)

    weighed_left = left * right.square().sum((0, 4)).sqrt()[..., None]
    weighed_right = right * left.square().sum(3).sqrt()[None, ..., None]
    for head in range(heads):
        for weighed, other, kept in (
            (weighed_left[:, :, head].flatten(0, 1), right[..., head, :].square().sum((0, 3)), smaller.left),
            (weighed_right[..., head, :].flatten(0, 2), left[:, :, head].square().sum(2), smaller.right),
        ):
            best = torch.linalg.svdvals(weighed)[:few].square().sum()
            held = (kept[..., head, :].square().sum(-1) * other).sum()
            assert 0.95 * best < held <= best * (1 + 1e-9)
