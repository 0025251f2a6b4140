import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.alignment.joint_diagonalisation import jointly_diagonalise
from tangentlens.errors import InvalidInputError, NumericalError


def commuting(d: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    U = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    levels = torch.randint(0, 3, (count, d), generator=generator).double()  # degenerate on purpose
    return U @ torch.diag_embed(levels) @ U.T, levels


@settings(deadline=None)
@given(d=st.integers(1, 9), count=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_commuting_matrices_become_diagonal(d: int, count: int, seed: int) -> None:
    matrices, levels = commuting(d, count, seed)
    found = jointly_diagonalise(matrices)
    U = found.rotation
    turned = U.T @ matrices @ U
    assert found.converged
    assert found.off_diagonal < 1e-8
    assert torch.allclose(U.T @ U, torch.eye(d, dtype=torch.float64), atol=1e-10)
    diagonals = turned.diagonal(dim1=1, dim2=2)
    assert torch.allclose(diagonals.sort(dim=1).values, levels.sort(dim=1).values, atol=1e-3)


@settings(deadline=None)
@given(d=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_one_matrix_gives_its_eigenvalues(d: int, seed: int) -> None:
    A = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    A = A + A.T
    found = jointly_diagonalise(A[None], tol=1e-14)
    values = (found.rotation.T @ A @ found.rotation).diagonal().sort().values
    assert torch.allclose(values, torch.linalg.eigvalsh(A), atol=1e-6)


def test_matrices_that_do_not_commute_reach_a_stationary_point() -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    A = A + A.mT
    found = jointly_diagonalise(A, tol=1e-14, max_sweeps=500)
    turned = found.rotation.T @ A @ found.rotation
    diagonal = torch.diag_embed(turned.diagonal(dim1=1, dim2=2))
    gradient = (turned @ diagonal - diagonal @ turned).sum(dim=0)  # of the objective along rotations
    assert found.converged
    assert found.off_diagonal > 1e-3
    assert float(gradient.abs().max()) < 1e-5


def test_too_few_sweeps_are_admitted() -> None:
    matrices, _ = commuting(9, 2, seed=3)
    assert not jointly_diagonalise(matrices, max_sweeps=1).converged


def test_the_arguments_stay_as_they_are_and_bad_ones_are_refused() -> None:
    matrices, _ = commuting(4, 2, seed=0)
    before = matrices.clone()
    jointly_diagonalise(matrices)
    assert torch.equal(matrices, before)
    with pytest.raises(InvalidInputError, match="square"):
        jointly_diagonalise(torch.ones(2, 3, 4))
    with pytest.raises(NumericalError):
        jointly_diagonalise(torch.full((1, 2, 2), float("inf")))
