"""The leading eigenpairs of a symmetric operator, by the solver that is predicted to take less time."""

import logging
import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.block_lanczos import block_lanczos
from tangentlens.eigen.dense import dense_eigenpairs, is_held
from tangentlens.errors import InvalidInputError
from tangentlens.operators import LinearOperator
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs

Whole = int | np.integer[Any]

_log = logging.getLogger(__name__)
_USUAL = 25  # pairs where the user names no number


def top_eigenpairs(
    op: LinearOperator,
    k: Whole | None = None,
    tol: float = 1e-6,
    *,
    method: str = "auto",
    start: ArrayLike | Eigenpairs | None = None,
    max_products: Whole | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Eigenpairs:
    """The k algebraically largest eigenpairs K v = lambda v, each with its true residual.

    Args:
        op: symmetric (n, n) operator.
        k: number of eigenpairs, 1 <= k <= n; by default 25, or n where that is less.
        tol: relative residual ||K v - lambda v|| / |lambda| that counts as converged.
        method: "dense" (eigendecomposition of the whole matrix), "lanczos" (block Lanczos, products alone) or "auto":
            the faster by `dense_is_cheaper`; logged at level info.
        start: (n, s) approximate eigenvectors, an array of real numbers or the Eigenpairs of the checkpoint before;
            "auto" then takes block Lanczos. The dense solver has no use for it.
        max_products: columns that may be multiplied by K, the k of the residuals included, at least 2 k. Block
            Lanczos stops there and reports what has not converged. By default 2 n + k.
        seed: of the random start columns; equal seeds give equal results.
        progress: called with ("eigenpairs", settled pairs, k).

    Returns:
        The pairs, descending, float64, on the operator's device. A pair whose residual exceeds tol is returned with
        converged False: the budget was spent, or rounding in the operator's dtype allows no better. Pairs beyond the
        numerical rank (`Eigenpairs.rank`) are rounding, whatever their residual.

    Raises:
        InvalidInputError: k, tol, max_products, start or method out of range, or an operator that is not symmetric.
        NumericalError: NaN or infinity in the operator, or a measured asymmetry; names the operator.
    """
    _check_operator(op)
    n = op.shape[0]
    _check_numbers(n, k, tol, max_products)
    k = min(_USUAL, n) if k is None else int(k)
    most = None if max_products is None else int(max_products)
    columns = None if start is None else _start_columns(start, n)
    chosen = _choose(op, k, method, columns)
    if chosen == "dense":
        pairs = dense_eigenpairs(op, k, tol, progress=progress)
    else:
        pairs = block_lanczos(op, k, tol, start=columns, max_products=most, seed=seed, progress=progress)
    as_asked = bool(pairs.converged.all()) and pairs.rank == k
    _log.log(logging.INFO if as_asked else logging.WARNING, "%s: %s", op.name, pairs.explain())
    return pairs


def dense_is_cheaper(op: LinearOperator, k: int) -> bool:
    """Whether an eigendecomposition of the whole matrix is predicted to take less time than block Lanczos.

    Block Lanczos takes about m = 4 k + 100 columns. Where only products are at hand, products are the cost, and the
    dense solver needs n of them. Where the matrix is held in memory, each term is a number of operations over the
    rate at which one core of an AMD EPYC runs it (benchmarks/eigensolvers.py; docs/eigensolvers.md has the table):

        block Lanczos   2 n^2 m / 8e9      products with a block, bound by memory
                      + 4 n m^2 / 10e9     orthogonality
                      + 30 m^3 / 30e9      projected problems
        dense           4/3 n^3 / 20e9     reduction to tridiagonal form, half of it bound by memory
                      + 2 n^2 k / 7e9      k vectors by inverse iteration, or
                      + 10/3 n^3 / 38e9    all vectors by divide and conquer, whichever is less

    Other machines run all of it faster or slower; the choice depends on the ratios alone.
    """
    n, m = op.shape[0], 4 * k + 100
    if not is_held(op):
        return n <= m
    lanczos = 2 * n**2 * m / 8e9 + 4 * n * m**2 / 10e9 + 30 * m**3 / 30e9
    dense = 4 / 3 * n**3 / 20e9 + min(2 * n**2 * k / 7e9, 10 / 3 * n**3 / 38e9)
    return dense <= lanczos


def _choose(op: LinearOperator, k: int, method: str, start: Float[Tensor, "n s"] | None) -> str:
    if method in ("dense", "lanczos"):
        return method
    if method != "auto":
        raise InvalidInputError(f"unknown method {method!r}", remedy='Choose "auto", "dense" or "lanczos".')
    chosen = "dense" if start is None and dense_is_cheaper(op, k) else "lanczos"
    reason = "a start is given" if start is not None else "less time by prediction"
    _log.info("%s: %s eigensolver for %d of %d modes (%s)", op.name, chosen, k, op.shape[0], reason)
    return chosen


def _check_operator(op: object) -> None:
    if not isinstance(op, LinearOperator):
        kernels = hasattr(op, "operators")
        raise InvalidInputError(
            f"an operator is needed, not {type(op).__name__}",
            remedy="Take ntk.total, or the kernel of one group, ntk[name]."
            if kernels
            else "Wrap a matrix in DenseOperator(matrix).",
        )
    if not op.symmetric or op.shape[0] != op.shape[1]:
        raise InvalidInputError(
            f"eigenpairs need a symmetric operator, and this one of shape {op.shape} is not",
            where=op.name,
            remedy="A crossed kernel has singular vectors: take the kernel of one set of inputs, or "
            "scipy.sparse.linalg.svds(op.to_scipy()).",
        )
    if op.shape[0] == 0:
        raise InvalidInputError("the operator has no rows", where=op.name, remedy="Take at least one example.")


def _check_numbers(n: int, k: Whole | None, tol: float, max_products: Whole | None) -> None:
    usual = min(_USUAL, n)
    k = usual if k is None else k
    if not _is_whole(k) or not 1 <= k <= n:
        raise InvalidInputError(
            f"k = {k} eigenpairs of an operator with {n} rows",
            where="k",
            remedy=f"Choose k from 1 to {n}, or leave it out for {usual}.",
        )
    if not 0 < tol < math.inf:
        raise InvalidInputError(f"tol = {tol} is not positive", where="tol", remedy="Choose for example 1e-6.")
    if max_products is not None and not (_is_whole(max_products) and max_products >= 2 * k):
        raise InvalidInputError(
            f"max_products = {max_products} cannot give {k} eigenpairs with their residuals",
            where="max_products",
            remedy=f"At least {2 * k} are needed: {k} products for a basis and {k} for the residuals; or ask for a "
            "smaller k.",
        )


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _start_columns(start: ArrayLike | Eigenpairs, n: int) -> Float[Tensor, "n s"]:
    columns = real_tensor(start, "start")
    if columns.ndim != 2 or columns.shape[0] != n or columns.shape[1] < 1:
        raise InvalidInputError(
            f"start has shape {tuple(columns.shape)}", where="start", remedy=f"Give columns of {n} rows."
        )
    if not bool(torch.isfinite(columns).all()):
        raise InvalidInputError("start has NaN or infinity", where="start", remedy="Start without it.")
    return columns
