"""Eigenpairs from the whole matrix: the reference for the iterative solvers, and the fastest where K is small."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.blas import top_eigh
from tangentlens.eigen.residuals import float64_device, require_finite, require_symmetric, with_residuals
from tangentlens.operators import DenseOperator, LinearOperator, RestrictedOperator, ScaledOperator, SumOperator
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs


def is_held(op: LinearOperator) -> bool:
    """Whether the matrix is in memory already, as it is or in parts: op.dense() then costs no product."""
    match op:
        case DenseOperator():
            return True
        case SumOperator():
            return all(is_held(term) for term in op.terms)
        case ScaledOperator() | RestrictedOperator():
            return is_held(op.operator)
        case _:
            return False


def dense_eigenpairs(op: LinearOperator, k: int, tol: float, *, progress: Progress = silent) -> Eigenpairs:
    """The k leading eigenpairs from an eigendecomposition of op.dense() in float64.

    A matrix that is held in memory (`is_held`) is cast to float64 as a whole, so that the residuals too are those of
    the float64 matrix; any other operator keeps its own precision in the residuals' product.

    Args:
        op: symmetric (n, n); its matrix takes 8 n^2 bytes, LAPACK about twice as much again.
        k: number of eigenpairs, 1 <= k <= n.
        tol: relative residual that counts as converged.

    Raises:
        NumericalError: NaN or infinity, or an asymmetry max |K - K^T| / max |K| above what rounding in the
            operator's dtype explains (`residuals.symmetry_tolerance`). It is measured before the matrix is
            replaced by its symmetric part.
    """
    progress("eigenpairs", 0, k)
    matrix = op.dense().detach().to(float64_device(op)).to(torch.float64)
    require_finite(matrix, op.name)
    values, vectors = top_eigh(_symmetric_part(matrix, op), k)
    exact, products = (DenseOperator(matrix, name=op.name), 0) if is_held(op) else (op, len(matrix))
    pairs = with_residuals(exact, values, vectors, tol, products, op.eps)
    progress("eigenpairs", k, k)
    return replace(pairs, values=values.clone(), vectors=vectors.clone())  # not views of all n of them


def _symmetric_part(matrix: Float[Tensor, "n n"], op: LinearOperator) -> Float[Tensor, "n n"]:
    skew = (matrix - matrix.T) / 2
    require_symmetric(2 * float(skew.abs().max()), float(matrix.abs().max()), op)
    return matrix - skew
