"""Rayleigh-Ritz on a given space."""

import pytest
import torch

from tangentlens.eigen import top_eigenpairs
from tangentlens.eigen.rayleigh_ritz import rayleigh_ritz
from tangentlens.errors import InvalidInputError
from tangentlens.operators import DenseOperator


def matrix(n: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return root @ root.T


def test_the_space_of_the_eigenvectors_gives_them_back():
    K = matrix()
    values, vectors = torch.linalg.eigh(K)
    mixed = vectors[:, -6:] @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = rayleigh_ritz(DenseOperator(K), mixed, 4, tol=1e-8)
    assert torch.allclose(pairs.values, values.flip(0)[:4])
    assert bool(pairs.converged.all())
    assert pairs.products == 6


def test_residuals_are_the_true_ones_on_any_space():
    K = matrix()
    space = torch.randn(30, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = rayleigh_ritz(DenseOperator(K), space, 3, tol=1e-3)
    true = (K @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0) / pairs.values
    assert torch.allclose(pairs.residuals, true)
    assert not bool(pairs.converged.any())
    assert torch.allclose(pairs.vectors.T @ pairs.vectors, torch.eye(3, dtype=torch.float64), atol=1e-12)


def test_dependent_columns_do_not_count():
    K = matrix()
    column = torch.ones(30, 1, dtype=torch.float64)
    with pytest.raises(InvalidInputError, match="independent"):
        rayleigh_ritz(DenseOperator(K), torch.cat([column, 2 * column], dim=1), 2, tol=1e-3)
    with pytest.raises(InvalidInputError, match="cannot hold"):
        rayleigh_ritz(DenseOperator(K), column, 2, tol=1e-3)


def test_a_step_keeps_all_that_was_multiplied_and_beats_a_subspace_iteration_of_as_many_products():
    K = matrix()
    start = torch.linalg.qr(torch.randn(30, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    iterated = rayleigh_ritz(DenseOperator(K), K @ start, 3, tol=1e-12)
    pairs = rayleigh_ritz(DenseOperator(K), start, 3, tol=1e-12, steps=1)
    krylov = rayleigh_ritz(DenseOperator(K), torch.cat([start, K @ start], dim=1), 3, tol=1e-12)
    assert pairs.products == 8  # 5 columns, then the residuals of 3 pairs
    assert bool((pairs.values > iterated.values).all())
    assert bool((pairs.values <= krylov.values * (1 + 1e-12)).all())  # a part of that space
    true = (K @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0) / pairs.values
    assert torch.allclose(pairs.residuals, true)


def test_steps_end_when_all_pairs_are_converged():
    K = matrix()
    vectors = torch.linalg.eigh(K)[1]
    pairs = rayleigh_ritz(DenseOperator(K), vectors[:, -4:], 4, tol=1e-8, steps=5)
    assert pairs.products == 4
    deep = rayleigh_ritz(DenseOperator(K), vectors[:, -4:] + 0.01 * K[:, :4], 4, tol=1e-8, steps=20)
    assert bool(deep.converged.all())
    assert deep.products < 30 + 4


def test_the_span_survives_dependent_columns_among_the_others():
    K = matrix()
    a, b, c = torch.randn(3, 30, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    plain = rayleigh_ritz(DenseOperator(K), torch.cat([a, b, c], dim=1), 3, tol=1e-8)
    doubled = rayleigh_ritz(DenseOperator(K), torch.cat([a, a, 2 * a, b, a + b, c], dim=1), 3, tol=1e-8)
    assert torch.allclose(doubled.values, plain.values)
    assert doubled.products == 3


def test_a_space_of_any_kind():
    K = matrix()
    op = DenseOperator(K)
    pairs = top_eigenpairs(op, 4)
    for space in (pairs, pairs.vectors.numpy(), pairs.vectors.tolist(), pairs.vectors.float()):
        torch.testing.assert_close(rayleigh_ritz(op, space, 4, tol=1e-3).values, pairs.values)
