"""What every eigensolver owes: the registry of operators, solvers and properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.operators import DenseOperator, LinearOperator, ScaledOperator
from tests.support.eigen_cases import OPERATORS, SOLVERS, Solver, as_product, rotation, with_spectrum

TOL = 1e-8


def wanted(op: LinearOperator) -> list[int]:
    n = op.shape[0]
    return sorted({1, min(16, n), n})


@pytest.fixture(params=OPERATORS.values(), ids=OPERATORS)
def op(request):
    return request.param()


@pytest.fixture(params=SOLVERS.values(), ids=SOLVERS)
def solver(request) -> Solver:
    return request.param


def test_pairs_are_those_of_the_whole_matrix(op, solver):
    """Values, order, orthonormality and residuals, each against the float64 matrix."""
    matrix = op.dense()
    true = torch.linalg.eigvalsh(matrix).flip(0)
    scale = float(true.abs().max())
    for k in wanted(op):
        pairs = solver(op, k, TOL)
        assert pairs.values.shape == (k,)
        assert pairs.vectors.shape == (op.shape[0], k)
        assert pairs.values.dtype == pairs.vectors.dtype == torch.float64
        assert float((pairs.values - true[:k]).abs().max()) <= TOL * scale
        assert bool((pairs.values.diff() <= 0).all())
        identity = torch.eye(k, dtype=torch.float64)
        torch.testing.assert_close(pairs.vectors.T @ pairs.vectors, identity, atol=2e-13, rtol=0)
        errors = (matrix @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0) / pairs.values.abs()
        # to the rounding of a product, which is relative to the largest eigenvalue
        allowed = 1e-6 * errors + 1e-14 * scale / pairs.values.abs()
        assert bool(((pairs.residuals - errors).abs() <= allowed).all())
        assert pairs.converged.equal(pairs.residuals <= TOL)
        assert bool(pairs.converged[pairs.values.abs() > 1e-4 * scale].all())


def test_value_errors_bound_the_distance_to_an_eigenvalue(solver):
    matrix = with_spectrum(torch.linspace(0, 1, 80) ** 2)
    pairs = solver(DenseOperator(matrix), 10, 1e-3)
    distances = (pairs.values[:, None] - torch.linalg.eigvalsh(matrix)[None, :]).abs().min(1).values
    assert bool((distances <= pairs.value_errors + 1e-14).all())


def test_similarity_rotates_vectors_and_keeps_values(solver):
    matrix, Q = with_spectrum(torch.linspace(0, 1, 60) ** 3), rotation(60, 7)
    turned = Q @ matrix @ Q.T
    before = solver(DenseOperator(matrix), 6, TOL)
    after = solver(DenseOperator((turned + turned.T) / 2), 6, TOL)
    torch.testing.assert_close(after.values, before.values, atol=1e-12, rtol=0)
    overlaps = (after.vectors * (Q @ before.vectors)).sum(0).abs()
    torch.testing.assert_close(overlaps, torch.ones_like(overlaps), atol=1e-7, rtol=0)


def test_permutation_of_rows_permutes_vectors(solver):
    matrix = with_spectrum(torch.linspace(0, 1, 60) ** 3)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    before, after = solver(DenseOperator(matrix), 6, TOL), solver(DenseOperator(matrix[order][:, order]), 6, TOL)
    torch.testing.assert_close(after.values, before.values, atol=1e-12, rtol=0)
    overlaps = (after.vectors * before.vectors[order]).sum(0).abs()
    torch.testing.assert_close(overlaps, torch.ones_like(overlaps), atol=1e-7, rtol=0)


@pytest.mark.parametrize("factor", [1e-20, 0.3, 1e20])
def test_scaling_scales_values_and_keeps_residuals_relative(solver, factor):
    op = DenseOperator(with_spectrum(torch.linspace(0, 1, 60) ** 3))
    scaled = solver(ScaledOperator(op, factor), 6, TOL)
    torch.testing.assert_close(scaled.values, factor * solver(op, 6, TOL).values, rtol=1e-12, atol=0)
    assert bool(scaled.converged.all())


def test_equal_runs_give_equal_results_and_touch_no_global_generator(solver):
    op = as_product(with_spectrum(torch.linspace(0, 1, 60) ** 3))
    state = torch.get_rng_state()
    first, second = solver(op, 6, TOL), solver(op, 6, TOL)
    assert first.vectors.equal(second.vectors)
    assert first.products == second.products
    assert torch.get_rng_state().equal(state)


def test_rank_below_k_gives_zeros_that_are_not_called_converged(solver):
    matrix = with_spectrum(torch.cat([1 + torch.arange(5.0), torch.zeros(55)]))
    pairs = solver(DenseOperator(matrix), 12, TOL)
    assert bool(pairs.converged[:5].all())
    assert float(pairs.values[5:].abs().max()) < 1e-13
    assert not bool(pairs.converged[5:].any())
    assert pairs.rank == 5
    assert pairs.modes.shape == (60, 5)
    assert "7 of the 12 pairs asked for are rounding" in pairs.explain()
    assert "max_products" not in pairs.explain()


def test_zero_operator_has_zero_residuals(solver):
    pairs = solver(DenseOperator(torch.zeros(30, 30, dtype=torch.float64)), 4, TOL)
    assert float(pairs.values.abs().max()) == 0
    assert float(pairs.residuals.max()) == 0
    assert bool(pairs.converged.all())
    assert pairs.rank == 0


def test_indefinite_operator_gives_the_algebraically_largest(solver):
    spectrum = torch.cat([torch.arange(-30, -10).double(), torch.arange(40).double() / 40])
    pairs = solver(DenseOperator(with_spectrum(spectrum)), 5, TOL)
    torch.testing.assert_close(pairs.values, torch.arange(39, 34, -1).double() / 40, atol=1e-12, rtol=0)


@st.composite
def clustered_spectra(draw):
    """Up to 12 distinct values, each with up to 12 exact copies or copies within 1e-9, and what is left at random."""
    centres = draw(st.lists(st.integers(-20, 20), min_size=1, max_size=12, unique=True))
    copies = [draw(st.integers(1, 12)) for _ in centres]
    spread = draw(st.sampled_from([0.0, 1e-9, 1e-4]))
    values = torch.cat(
        [c + spread * torch.arange(m, dtype=torch.float64) for c, m in zip(centres, copies, strict=True)]
    )
    return values, draw(st.integers(1, len(values))), draw(st.integers(0, 2**16))


@settings(max_examples=20, deadline=None)
@given(clustered_spectra())
def test_random_spectra_with_clusters_lose_no_copy(case):
    values, k, seed = case
    op = DenseOperator(with_spectrum(values, seed))
    for name in ("block lanczos", "restarted", "warm"):
        pairs = SOLVERS[name](op, k, TOL)
        torch.testing.assert_close(pairs.values, values.sort(descending=True).values[:k], atol=21 * TOL, rtol=0)
        assert bool(pairs.converged[pairs.values.abs() > 1e-3].all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("n", "rank"), [(40, 1), (60, 10), (400, 25)])
def test_the_rank_is_that_of_the_matrix_in_its_own_precision(solver, dtype, n, rank):
    root = torch.randn(n, rank, generator=torch.Generator().manual_seed(n), dtype=dtype)
    op = DenseOperator(root @ root.T)
    for k in (min(n, 2 * rank + 3), rank, 1):
        pairs = solver(op, k, 1e-4)
        assert pairs.rank == min(k, rank)
        assert pairs.modes.shape == (n, min(k, rank))
        Q = torch.linalg.qr(root.double()).Q
        assert float((Q @ (Q.T @ pairs.modes) - pairs.modes).norm(dim=0).max()) < 2e-3


def test_a_small_eigenvalue_above_rounding_is_a_mode(solver):
    spectrum = torch.cat([torch.logspace(0, -11, 12, dtype=torch.float64), torch.zeros(48, dtype=torch.float64)])
    assert solver(DenseOperator(with_spectrum(spectrum)), 20, TOL).rank == 12


def test_the_rank_of_a_gram_matrix_of_rounded_rows(solver):
    """Rows of rank 10 that lost digits in float32: the Gram matrix in float64 has rank 60, by rounding alone."""
    rows = torch.randn(2, 60, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = rows[0][:, :10] @ rows[1][:10]
    rounded = (exact + 30).float().double() - 30
    op = DenseOperator(rounded @ rounded.T, eps=torch.finfo(torch.float32).eps ** 2)
    assert solver(op, 20, TOL).rank == 10
    assert solver(DenseOperator(op.matrix), 20, TOL).rank > 10
    assert solver(ScaledOperator(op, 3.0), 20, TOL).rank == 10
