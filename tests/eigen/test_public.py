"""Calls of top_eigenpairs as users write them."""

import numpy as np
import pytest
import torch

import tangentlens as tl
from tangentlens.eigen.solve import _check_operator
from tangentlens.operators import DenseOperator, RestrictedOperator
from tests.support.eigen_cases import with_spectrum

MATRIX = with_spectrum(torch.linspace(1, 2, 60, dtype=torch.float64))


@pytest.mark.parametrize(("rows", "expected"), [(60, 25), (25, 25), (7, 7), (1, 1)])
def test_without_k_there_are_25_pairs_or_as_many_as_rows(rows: int, expected: int) -> None:
    assert len(tl.top_eigenpairs(DenseOperator(MATRIX[:rows, :rows])).values) == expected


def test_a_number_of_numpy_is_a_number() -> None:
    assert len(tl.top_eigenpairs(DenseOperator(MATRIX), np.int64(3), max_products=np.int32(200)).values) == 3


@pytest.mark.parametrize(
    "start",
    [
        lambda pairs: pairs,
        lambda pairs: pairs.vectors,
        lambda pairs: pairs.vectors.numpy(),
        lambda pairs: pairs.vectors.float(),
        lambda pairs: pairs.vectors.tolist(),
    ],
)
def test_a_start_of_any_kind_saves_products(start) -> None:
    op = DenseOperator(MATRIX)
    cold = tl.top_eigenpairs(op, 4, method="lanczos")
    warm = tl.top_eigenpairs(op, 4, start=start(cold))
    torch.testing.assert_close(warm.values, cold.values)
    assert warm.products < cold.products


def test_eigenpairs_are_multiplied_by_their_vectors() -> None:
    op = DenseOperator(MATRIX)
    pairs = tl.top_eigenpairs(op, 4)
    torch.testing.assert_close(op @ pairs, pairs.vectors * pairs.values, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda op: tl.top_eigenpairs(op, 61), r"k = 61 .* Choose k from 1 to 60, or leave it out for 25"),
        (lambda op: tl.top_eigenpairs(op, 0), "Choose k from 1 to 60"),
        (lambda op: tl.top_eigenpairs(op, True), "Choose k from 1 to 60"),
        (lambda op: tl.top_eigenpairs(op, 5, tol=float("inf")), "tol"),
        (lambda op: tl.top_eigenpairs(op, 5, max_products=9), r"max_products = 9 .* At least 10 .* a smaller k"),
        (lambda op: tl.top_eigenpairs(op, 5, start=np.ones((59, 2))), "start has shape"),
        (lambda op: tl.top_eigenpairs(op, 5, start=["a"]), "start"),
        (lambda op: tl.top_eigenpairs(RestrictedOperator(op, torch.zeros(60, dtype=torch.bool))), "no rows"),
        (lambda op: tl.top_eigenpairs(DenseOperator(op.matrix[:, :5], symmetric=False)), "svds"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_its_own_words(call, match) -> None:
    with pytest.raises(tl.InvalidInputError, match=match):
        call(DenseOperator(MATRIX))


def test_a_kernel_instead_of_an_operator_is_told_how_to_take_one() -> None:
    ntk = tl.entk(torch.nn.Linear(3, 2), torch.randn(5, 3))
    with pytest.raises(tl.InvalidInputError, match=r"not EmpiricalNTK.*ntk\.total"):
        _check_operator(ntk)
