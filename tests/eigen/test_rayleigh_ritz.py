"""Rayleigh-Ritz on a given space."""

import pytest
import torch

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
