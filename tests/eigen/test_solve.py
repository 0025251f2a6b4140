"""The public face: choice of method, refusals, budgets, and faults that must not pass."""

import logging

import pytest
import torch

from tangentlens.eigen.block_lanczos import basis_capacity, block_lanczos, block_size
from tangentlens.eigen.solve import _check_operator, dense_is_cheaper, top_eigenpairs
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.operators import DenseOperator, ProductOperator, ScaledOperator, SumOperator
from tests.support.eigen_cases import as_product, full, modular_addition_kernel, rotation, uniform, with_spectrum

SLOW_DECAY = torch.linspace(1, 0, 300) ** 2


def counted(matrix, **options):
    """The operator, and a list that grows by the number of columns of each product."""
    columns = []

    def multiply(V):
        columns.append(V.shape[1])
        return matrix @ V

    return ProductOperator(multiply, tuple(matrix.shape), dtype=matrix.dtype, **options), columns


def faulty(matrix, at, fault):
    """An operator whose product number `at` goes through `fault`."""
    calls = []

    def multiply(V):
        calls.append(None)
        W = matrix @ V
        return fault(W) if len(calls) - 1 == at else W

    return ProductOperator(multiply, tuple(matrix.shape), name="layer.weight")


# choice of method


def test_small_matrices_go_dense_and_large_ones_iterate():
    small, large = torch.zeros(841, 841, dtype=torch.float64), torch.zeros(1).expand(12_769, 12_769)
    assert dense_is_cheaper(DenseOperator(small), 841)
    assert dense_is_cheaper(DenseOperator(small), 113)
    assert dense_is_cheaper(DenseOperator(small), 25)
    assert not dense_is_cheaper(DenseOperator(large), 500)
    assert dense_is_cheaper(ScaledOperator(SumOperator([DenseOperator(small), DenseOperator(small)]), 0.5), 113)
    assert not dense_is_cheaper(SumOperator([DenseOperator(small), as_product(small)]), 25)
    assert not dense_is_cheaper(as_product(small), 25)
    assert dense_is_cheaper(as_product(small), 200)


@pytest.mark.parametrize(("k", "expected"), [(2, "lanczos"), (60, "dense")])
def test_the_choice_is_logged(caplog, k, expected):
    with caplog.at_level(logging.INFO, logger="tangentlens"):
        top_eigenpairs(as_product(with_spectrum(torch.logspace(0, -3, 150)), name="layer.weight"), k)
    assert f"layer.weight: {expected} eigensolver for {k} of 150 modes" in caplog.text


def test_methods_agree():
    op = DenseOperator(modular_addition_kernel(11, 64))
    dense, iterative = top_eigenpairs(op, 45, method="dense"), top_eigenpairs(op, 45, method="lanczos")
    torch.testing.assert_close(dense.values, iterative.values, rtol=1e-9, atol=0)


def test_progress_starts_at_zero_and_ends_at_k():
    for method in ("dense", "lanczos"):
        seen = []
        op = DenseOperator(with_spectrum(SLOW_DECAY))
        top_eigenpairs(op, 10, method=method, progress=lambda *step, seen=seen: seen.append(step))
        assert seen[0] == ("eigenpairs", 0, 10)
        assert seen[-1] == ("eigenpairs", 10, 10)


# refusals


@pytest.mark.parametrize("k", [0, -3, 31])
def test_k_out_of_range(k):
    with pytest.raises(InvalidInputError, match="Choose k from 1 to 30"):
        top_eigenpairs(DenseOperator(torch.eye(30)), k)


def test_what_is_no_symmetric_operator():
    with pytest.raises(InvalidInputError, match="DenseOperator"):
        _check_operator(torch.eye(3))
    with pytest.raises(InvalidInputError, match="need a symmetric operator"):
        top_eigenpairs(DenseOperator(torch.eye(3), symmetric=False, name="crossed"), 1)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"tol": 0.0}, "1e-6"),
        ({"tol": float("nan")}, "1e-6"),
        ({"method": "magic"}, "lanczos"),
        ({"max_products": 9}, "At least 10"),
        ({"start": torch.zeros(29, 2)}, "30 rows"),
        ({"start": torch.zeros(30)}, "30 rows"),
        ({"start": torch.full((30, 1), torch.nan)}, "without"),
    ],
)
def test_arguments_out_of_range(options, remedy):
    with pytest.raises(InvalidInputError, match=remedy):
        top_eigenpairs(DenseOperator(torch.eye(30)), 5, **options)


# faults


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_nan_in_the_matrix_names_the_group(value, method):
    matrix = with_spectrum(SLOW_DECAY)
    matrix[3, 4] = matrix[4, 3] = value
    with pytest.raises(NumericalError, match=r"layer\.weight"):
        top_eigenpairs(DenseOperator(matrix, name="layer.weight"), 5, method=method)


@pytest.mark.parametrize("at", [0, 2, 5])
def test_nan_in_one_product_names_the_group(at):
    def poison(W):
        return W.index_fill(0, torch.tensor([7]), torch.nan)

    with pytest.raises(NumericalError, match=r"layer\.weight"):
        block_lanczos(faulty(with_spectrum(SLOW_DECAY), at, poison), 10, 1e-6)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_asymmetry_is_measured_not_averaged_away(method):
    matrix = with_spectrum(SLOW_DECAY)
    matrix[5, 9] += 1e-3
    with pytest.raises(NumericalError, match=r"not symmetric.*layer\.weight"):
        top_eigenpairs(DenseOperator(matrix, name="layer.weight"), 5, method=method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_asymmetry(dtype):
    X = torch.randn(200, 30, generator=torch.Generator().manual_seed(0), dtype=dtype)
    matrix = X @ X.T
    noise = torch.finfo(dtype).eps * float(matrix.abs().max()) * torch.randn(200, 200, dtype=dtype)
    for method in ("dense", "lanczos"):
        assert bool(top_eigenpairs(DenseOperator(matrix + noise), 5, 1e-4, method=method).converged.all())


def test_an_inconsistent_product_is_refused():
    with pytest.raises(NumericalError, match="not symmetric"):
        block_lanczos(faulty(with_spectrum(SLOW_DECAY), 4, lambda W: 1.001 * W), 10, 1e-6)


def test_a_wrong_last_product_shows_in_the_residual():
    matrix = with_spectrum(torch.linspace(2, 1, 40))
    wrong = 1 + 1e-3 * uniform(40)[:, None]
    op, columns = counted(matrix)
    block_lanczos(op, 10, 1e-6)
    pairs = block_lanczos(faulty(matrix, len(columns) - 1, lambda W: wrong * W), 10, 1e-6)
    assert not bool(pairs.converged.any())
    assert float(pairs.residuals.min()) > 1e-4


def test_a_matrix_wrong_by_a_thousandth_shows_in_residuals_of_the_right_one():
    right, wrong = with_spectrum(torch.linspace(2, 1, 40)), with_spectrum(torch.linspace(2, 1, 40) * 1.001)
    calls = []

    def multiply(V):  # right in the residuals' product alone
        calls.append(V)
        return (right if len(calls) == steps else wrong) @ V

    op, columns = counted(wrong)
    block_lanczos(op, 10, 1e-6)
    steps = len(columns)
    pairs = block_lanczos(ProductOperator(multiply, (40, 40)), 10, 1e-6)
    torch.testing.assert_close(pairs.residuals, full(10, 1e-3), rtol=1e-2, atol=0)


def test_a_product_of_another_shape_is_refused():
    op = ProductOperator(lambda V: V[:10], (40, 40), name="layer.weight")
    with pytest.raises(InvalidInputError, match=r"layer\.weight"):
        block_lanczos(op, 5, 1e-6)


# budgets and accuracy


def test_fifty_plain_steps_for_25_modes_are_not_enough_and_we_say_so():
    """The paper's procedure: 50 single-vector Lanczos steps, 25 modes, no check."""
    op = DenseOperator(with_spectrum(1 / torch.arange(1, 401).double()))
    pairs = block_lanczos(op, 25, 1e-6, block=1, max_products=50 + 25)
    assert pairs.products == 75
    assert 0 < int((~pairs.converged).sum()) < 25
    assert "did not converge" in pairs.explain()
    assert "max_products" in pairs.explain()
    true = block_lanczos(op, 25, 1e-10)
    assert bool(true.converged.all())
    cosines = (true.vectors.T @ pairs.vectors).norm(dim=0)
    assert float(cosines[-1]) < 0.9  # the last mode is not even in the right space


@pytest.mark.parametrize("budget", [50, 51, 64, 100, 137])
def test_a_budget_is_kept(budget):
    op, columns = counted(with_spectrum(SLOW_DECAY))
    pairs = top_eigenpairs(op, 25, method="lanczos", max_products=budget)
    assert sum(columns) == pairs.products <= budget
    assert pairs.values.shape == (25,)
    assert not bool(pairs.converged.all())


def test_products_are_counted():
    op, columns = counted(with_spectrum(SLOW_DECAY))
    for method in ("dense", "lanczos"):
        columns.clear()
        assert top_eigenpairs(op, 10, method=method).products == sum(columns)


def test_float32_products_reach_their_rounding_level_and_say_so():
    matrix = with_spectrum(torch.logspace(0, -6, 300)).float()
    pairs = block_lanczos(DenseOperator(matrix), 60, 1e-6)
    assert bool(pairs.converged[0])
    assert not bool(pairs.converged[-1])
    assert pairs.products < 900
    assert float((pairs.residuals * pairs.values)[:40].max()) < 20 * torch.finfo(torch.float32).eps
    exact = torch.linalg.eigvalsh(matrix.double()).flip(0)[:60]
    assert float((pairs.values - exact).abs().max()) < 1e-6


def test_a_float32_matrix_is_solved_in_float64_when_dense():
    pairs = top_eigenpairs(DenseOperator(with_spectrum(SLOW_DECAY).float()), 20, 1e-12, method="dense")
    assert bool(pairs.converged.all())


def test_memory_is_bounded():
    assert basis_capacity(12_769, 500, block_size(500)) * 12_769 * 8 < 2**30
    assert basis_capacity(655_360, 25, block_size(25)) * 655_360 * 8 < 1.1 * 2**30
    assert basis_capacity(100, 25, 8) == 100


# warm start


def test_a_warm_start_needs_a_third_of_the_products():
    """A slow change (1e-4 of the norm), a slowly decaying spectrum, and a tolerance above the change."""
    change = with_spectrum(torch.linspace(-1, 1, 400), seed=3)
    before = with_spectrum(torch.linspace(1, 0, 400) ** 2)
    old = block_lanczos(DenseOperator(before), 25, 1e-3)
    op = DenseOperator(before + 1e-4 * change)
    cold, warm = block_lanczos(op, 25, 1e-3), block_lanczos(op, 25, 1e-3, start=old.vectors)
    assert bool(warm.converged.all())
    torch.testing.assert_close(warm.values, cold.values, rtol=1e-5, atol=0)
    assert 3 * warm.products < cold.products


def test_a_mode_that_the_start_lacks_is_found():
    matrix = with_spectrum(torch.logspace(0, -4, 400))
    true = torch.linalg.eigh(matrix)
    without_the_first = true.eigenvectors[:, -26:-1]
    pairs = block_lanczos(DenseOperator(matrix), 25, 1e-6, start=without_the_first)
    torch.testing.assert_close(pairs.values, true.eigenvalues.flip(0)[:25], rtol=1e-9, atol=0)


@pytest.mark.parametrize("start", [torch.zeros(60, 2), torch.ones(60, 4), torch.eye(60), 1e30 * torch.eye(60)[:, :3]])
def test_any_start_will_do(start):
    matrix = with_spectrum(torch.linspace(0, 1, 60) ** 3)
    pairs = block_lanczos(DenseOperator(matrix), 6, 1e-8, start=start)
    torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(matrix).flip(0)[:6], rtol=1e-9, atol=0)


# degenerate spaces


@pytest.mark.parametrize("copies", [4, 8, 24])
def test_copies_beyond_the_block_are_found_while_the_bulk_is_slow(copies):
    spectrum = torch.cat([full(copies, 4), full(copies, 3), uniform(200)])
    pairs = block_lanczos(DenseOperator(with_spectrum(spectrum)), 2 * copies + 3, 1e-6, block=3)
    torch.testing.assert_close(pairs.values, spectrum.sort(descending=True).values[: 2 * copies + 3], rtol=1e-6, atol=0)


def test_operators_are_left_as_they_were():
    matrix = with_spectrum(SLOW_DECAY)
    before = matrix.clone()
    for method in ("dense", "lanczos"):
        top_eigenpairs(DenseOperator(matrix), 5, method=method, start=rotation(300)[:, :5])
        assert matrix.equal(before)


def test_a_scaled_sum_is_never_formed():
    op, columns = counted(with_spectrum(SLOW_DECAY))
    pairs = top_eigenpairs(ScaledOperator(op, 2.0), 5)
    assert sum(columns) == pairs.products < 300
