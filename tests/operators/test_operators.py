"""One conformance test for all operators: left and right, vector and matrix, torch and numpy, against the matrix."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.operators import (
    DenseOperator,
    LinearOperator,
    ProductOperator,
    RestrictedOperator,
    ScaledOperator,
    SumOperator,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A = normal(7, 5)
S = normal(6, 6, seed=1) + normal(6, 6, seed=1).T
ROWS = [4, 0, -1, 4]


def times_a(V: Tensor) -> Tensor:
    return A @ V


def times_a_transposed(V: Tensor) -> Tensor:
    return A.T @ V


def times_s_in_numpy(V: Tensor) -> np.ndarray:
    return S.numpy() @ V.numpy()


def crossed_product() -> LinearOperator:
    return ProductOperator(times_a, (7, 5), transposed=times_a_transposed, symmetric=False)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()


def neural(method: str, crossed: bool = False) -> LinearOperator:
    other = normal(5, 3, seed=4) if crossed else None
    return tl.entk(network(), normal(6, 3, seed=3), inputs2=other, outputs="full", method=method).total


def neural_matrix(crossed: bool = False) -> Tensor:
    return neural("dense", crossed).dense()


# name -> (the operator, its matrix)
OPERATORS: dict[str, Callable[[], tuple[LinearOperator, Tensor]]] = {
    "dense": lambda: (DenseOperator(S), S),
    "dense of numpy": lambda: (DenseOperator(S.numpy()), S),
    "dense of a list": lambda: (DenseOperator([[2, 1], [1, 3]]), torch.tensor([[2.0, 1], [1, 3]]).double()),
    "dense float32": lambda: (DenseOperator(S.float()), S),
    "dense bfloat16": lambda: (DenseOperator(S.bfloat16()), S.bfloat16().double()),
    "dense crossed": lambda: (DenseOperator(A, symmetric=False), A),
    "product": lambda: (ProductOperator(lambda V: S @ V, (6, 6)), S),
    "product in numpy": lambda: (ProductOperator(times_s_in_numpy, (6, 6)), S),
    "product crossed": lambda: (crossed_product(), A),
    "sum": lambda: (SumOperator([DenseOperator(S), DenseOperator(S @ S)]), S + S @ S),
    "sum of dtypes": lambda: (SumOperator([DenseOperator(S.float()), DenseOperator(S @ S)]), S + S @ S),
    "sum crossed": lambda: (SumOperator([DenseOperator(A, symmetric=False), crossed_product()]), 2 * A),
    "scaled": lambda: (ScaledOperator(DenseOperator(S), 3.0), 3 * S),
    "scaled crossed": lambda: (ScaledOperator(crossed_product(), -2.0), -2 * A),
    "restricted": lambda: (RestrictedOperator(DenseOperator(S), ROWS), S[ROWS][:, ROWS]),
    "restricted by a mask": lambda: (RestrictedOperator(DenseOperator(S), S[0] > 0), S[S[0] > 0][:, S[0] > 0]),
    "transposed": lambda: (DenseOperator(A, symmetric=False).T, A.T),
    "transposed twice": lambda: (crossed_product().T.T, A),
    "factored": lambda: (neural("factored"), neural_matrix()),
    "matrix-free": lambda: (neural("matrix_free"), neural_matrix()),
    "factored crossed": lambda: (neural("factored", crossed=True), neural_matrix(crossed=True)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_product_is_that_of_the_matrix(name: str) -> None:
    op, matrix = OPERATORS[name]()
    n, m = matrix.shape
    close = {"rtol": 0, "atol": 100 * op.eps * float(matrix.abs().max())}
    V, U = normal(m, 3, seed=7), normal(n, 3, seed=8)
    assert op.shape == (n, m)
    torch.testing.assert_close(op.dense().double(), matrix, **close)
    torch.testing.assert_close(op.T.dense().double(), matrix.T, **close)
    flipped = V[:, :1].numpy()[::-1]
    for given, plain in (
        *((each, V) for each in (V, V.numpy(), V.tolist(), V.float())),
        *((each, V[:, 0]) for each in (V[:, 0], V[:, 0].numpy(), V[:, 0].tolist())),
        (flipped, V[:, :1].flip(0)),
    ):
        expected = matrix @ plain
        found = op @ given
        assert isinstance(found, Tensor)
        assert found.dtype == op.dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=max(close["atol"], 1e-6))
    for given in (U.T, U.T.numpy(), U[:, 0], U[:, 0].numpy()):
        torch.testing.assert_close((given @ op).double(), torch.as_tensor(given) @ matrix, **close)


@pytest.mark.parametrize("name", OPERATORS)
def test_scipy_sees_both_sides(name: str) -> None:
    op, matrix = OPERATORS[name]()
    n, m = matrix.shape
    wrapped = op.to_scipy()
    atol = 100 * op.eps * float(matrix.abs().max())
    V, U, K = normal(m, 3, seed=7).numpy(), normal(n, 3, seed=8).numpy(), matrix.numpy()
    for found, expected in (
        (wrapped @ V, K @ V),
        (wrapped.matvec(V[:, 0]), K @ V[:, 0]),
        (wrapped.rmatvec(U[:, 0]), K.T @ U[:, 0]),
        (wrapped.rmatmat(U), K.T @ U),
        (wrapped.T @ U, K.T @ U),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_a_crossed_operator_has_singular_values_in_scipy() -> None:
    values = scipy.sparse.linalg.svds(crossed_product().to_scipy(), k=2, random_state=0)[1]
    np.testing.assert_allclose(sorted(values), torch.linalg.svdvals(A)[:2].flip(0).numpy(), rtol=1e-9)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda op: pickle.loads(pickle.dumps(op))])
@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"product"}))
def test_operators_are_copied_and_pickled(name: str, duplicate: Callable[[LinearOperator], LinearOperator]) -> None:
    op, _ = OPERATORS[name]()
    twin = duplicate(op)
    assert repr(twin) == repr(op)
    torch.testing.assert_close(twin.dense(), op.dense())


def test_a_crossed_product_without_its_transpose_is_refused_by_name() -> None:
    op = ProductOperator(times_a, (7, 5), symmetric=False, name="mine")
    for transposed in (
        lambda: op.T @ torch.ones(7),
        lambda: op.to_scipy().rmatvec(np.ones(7)),
        lambda: np.ones(7) @ op,
    ):
        with pytest.raises(tl.InvalidInputError, match=r"no transposed product.*mine"):
            transposed()


@pytest.mark.parametrize(
    ("V", "match"),
    [
        (torch.ones(4), "cannot multiply an array of shape"),
        (np.ones((5, 2, 2)), "cannot multiply an array of shape"),
        (torch.ones(5, dtype=torch.complex64), "complex"),
        (["a"] * 5, "array of real numbers"),
        ([[1.0], [2.0, 3.0]], "array of real numbers"),
        (np.array([None] * 5), "array of real numbers"),
    ],
)
def test_what_cannot_be_multiplied_is_refused(V: object, match: str) -> None:
    with pytest.raises(tl.InvalidInputError, match=match):
        DenseOperator(A, symmetric=False) @ V


@pytest.mark.parametrize(
    "make",
    [
        lambda: DenseOperator(A),
        lambda: DenseOperator(torch.ones(3)),
        lambda: DenseOperator(S.to(torch.complex128)),
        lambda: ProductOperator(times_a, (7, 5)),
        lambda: ProductOperator(times_a, (7, 7)) @ torch.ones(7, 2),
        lambda: ProductOperator(lambda V: V[:3], (7, 7)) @ torch.ones(7, 2),
        lambda: RestrictedOperator(DenseOperator(S), [9]),
        lambda: RestrictedOperator(DenseOperator(S), [0.5]),
        lambda: RestrictedOperator(DenseOperator(A, symmetric=False), [0]),
        lambda: SumOperator([DenseOperator(S), DenseOperator(A, symmetric=False)]),
        lambda: SumOperator([]),
    ],
)
def test_operators_that_cannot_be_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises((tl.InvalidInputError, RuntimeError)) as caught:
        make()
    assert isinstance(caught.value, tl.InvalidInputError) or "shapes cannot be multiplied" in str(caught.value)


def test_arrays_that_are_read_only_or_of_another_byte_order_are_taken() -> None:
    frozen = np.ones(5)
    frozen.setflags(write=False)
    op = DenseOperator(A, symmetric=False)
    torch.testing.assert_close(op @ frozen, A.sum(1))
    torch.testing.assert_close(op @ np.ones(5, dtype=">f4"), A.sum(1))
    torch.testing.assert_close(op @ ([torch.tensor(1.0)] * 5), A.sum(1))
    torch.testing.assert_close(op @ torch.ones(5, 1).to_sparse(), A.sum(1, keepdim=True))
