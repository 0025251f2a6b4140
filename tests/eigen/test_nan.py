"""NaN or infinity in any product is a NumericalError that names the operator, in every solver."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tangentlens.eigen import match_modes, top_eigenpairs, track_modes
from tangentlens.eigen.rayleigh_ritz import rayleigh_ritz
from tangentlens.errors import NumericalError
from tangentlens.operators import (
    DenseOperator,
    LinearOperator,
    ProductOperator,
    RestrictedOperator,
    ScaledOperator,
    SumOperator,
)
from tests.support.eigen_cases import SOLVERS, rotation, with_spectrum

MATRIX = with_spectrum(torch.linspace(1, 0, 60, dtype=torch.float64) ** 2)
SOLVE = {
    **{name: lambda op, solver=solver: solver(op, 6, 1e-8) for name, solver in SOLVERS.items()},
    "rayleigh_ritz": lambda op: rayleigh_ritz(op, rotation(60, 3)[:, :8], 6, 1e-8, steps=4),
    "auto": lambda op: top_eigenpairs(op, 6),
    "warm auto": lambda op: top_eigenpairs(op, 6, start=rotation(60, 3)[:, :8]),
}


def last_column(W: Tensor) -> Tensor:
    return torch.cat([W[:, :-1], W[:, -1:] * torch.nan], dim=1)


def one_entry(W: Tensor) -> Tensor:
    return W.index_put((torch.tensor(3), torch.tensor(0)), torch.tensor(torch.inf, dtype=W.dtype))


def overflowing(W: Tensor) -> Tensor:
    return W * 1e300 * 1e300


FAULTS = {"last column": last_column, "one entry": one_entry, "overflow": overflowing}


def faulty(fault: Callable[[Tensor], Tensor], at: int) -> LinearOperator:
    """An operator whose products from number `at` on go through `fault`."""
    calls: list[int] = []

    def multiply(V: Tensor) -> Tensor:
        calls.append(1)
        return fault(MATRIX @ V) if len(calls) > at else MATRIX @ V

    return ProductOperator(multiply, (60, 60), name="layer.weight")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("name", SOLVE)
def test_a_bad_product_names_the_operator(name: str, at: int, fault: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(NumericalError, match=r"NaN or infinity.*layer\.weight"):
        SOLVE[name](faulty(fault, at))


WRAPPED = {
    "sum": lambda op: SumOperator([DenseOperator(MATRIX), op]),
    "scaled": lambda op: ScaledOperator(op, 2.0),
    "restricted": lambda op: RestrictedOperator(op, torch.arange(60)),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_bad_product_inside_another_operator(wrap: Callable[[LinearOperator], LinearOperator], method: str) -> None:
    with pytest.raises(NumericalError, match="NaN or infinity"):
        top_eigenpairs(wrap(faulty(one_entry, 0)), 3, method=method)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("factor", [1e-100, 1e100])
def test_large_and_small_kernels_are_solved(method: str, factor: float) -> None:
    pairs = top_eigenpairs(DenseOperator(MATRIX * factor), 4, method=method)
    torch.testing.assert_close(pairs.values / factor, torch.linalg.eigvalsh(MATRIX).flip(0)[:4])
    assert bool(pairs.converged.all())


@pytest.mark.parametrize(("method", "factor"), [("dense", 1e200), ("lanczos", 1e200), ("lanczos", 1e-200)])
def test_kernels_whose_squares_overflow_are_refused_by_name(method: str, factor: float) -> None:
    with pytest.raises(NumericalError, match=r"squares cannot be represented.*layer\.weight"):
        top_eigenpairs(DenseOperator(MATRIX * factor, name="layer.weight"), 4, method=method)


def test_tracking_refuses_modes_that_are_no_numbers() -> None:
    pairs = top_eigenpairs(DenseOperator(MATRIX), 4)
    pairs.vectors[2, 1] = torch.nan
    good = top_eigenpairs(DenseOperator(MATRIX), 4)
    matched = [lambda: match_modes(good, pairs), lambda: match_modes(pairs, good)]
    for attempt in (*matched, lambda: track_modes([good, pairs])):
        with pytest.raises(NumericalError, match="NaN or infinity"):
            attempt()
    good.values[0] = torch.nan
    with pytest.raises(NumericalError, match="NaN or infinity"):
        track_modes([good, good])


def test_a_space_with_nan_is_refused() -> None:
    space = rotation(60, 3)[:, :8].clone()
    space[5, 5] = torch.nan
    with pytest.raises(NumericalError, match="NaN or infinity"):
        rayleigh_ritz(DenseOperator(MATRIX), space, 4, 1e-6)
