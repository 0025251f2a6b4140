"""How much of a feature space lies in the span of given modes."""

import logging

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.records import Eigenpairs, SubspaceOverlap

_log = logging.getLogger(__name__)
_DOUBLE = 2.0**-52


def subspace_overlap(vectors: ArrayLike | Eigenpairs, features: ArrayLike) -> SubspaceOverlap:
    """Overlap of span(features), mean-centred over the inputs, with span(vectors).

    With Q an orthonormal basis of the modes, (N, d), F one of the centred features, (N, r), and s the singular values
    of Q^T F, which are the cosines of the principal angles, the overlap is sum s^2, between 0 and r ("Feature
    Identification via the Empirical NTK", arXiv 2510.00468). For a random subspace of R^N it is r d / N on average, for
    one of centred vectors r d / (N - 1). Computed in float64. The modes are not centred.

    Rank rule: columns are scaled to length 1 (which changes no span), features then centred; directions whose
    singular value is at most max(N, columns) * 2^-52 or 8 * eps, eps that of the dtype given, are rounding and do
    not count.

    Args:
        vectors: (N, d) modes in columns, or Eigenpairs, of which the converged ones within the numerical rank are used
            (`Eigenpairs.modes`); any array of real numbers. The columns need not be orthonormal.
        features: (N, K) features in columns, any array of real numbers; repeated, dependent or constant columns are
            allowed.

    Returns:
        singular_values (min(d, r),) descending, overlap, rank r, modes d; `percent` is NaN where r = 0.

    Raises:
        InvalidInputError: an argument is not a real matrix, is empty, or the numbers of rows differ.
        NumericalError: an argument holds NaN or infinity, or no eigenpair can be used.
    """
    found = _usable(vectors) if isinstance(vectors, Eigenpairs) else vectors
    modes, modes_eps = _checked(real_tensor(found, "vectors"), "vectors")
    targets, features_eps = _checked(real_tensor(features, "features"), "features")
    if len(modes) != len(targets):
        raise InvalidInputError(
            f"the modes have {len(modes)} rows and the features {len(targets)}",
            where="subspace_overlap",
            remedy="Give both one row for each input, in the same order.",
        )
    F = centred_basis(targets.to(modes.device), features_eps)
    return overlap_of_bases(orthonormal_basis(modes, modes_eps), F)


def _usable(pairs: Eigenpairs) -> Float[Tensor, "N d"]:
    modes, k = pairs.modes, len(pairs.values)
    if modes.shape[1] == 0:
        raise NumericalError(
            f"none of the {k} eigenpairs is converged and within the numerical rank",
            where="subspace_overlap",
            remedy=f"{pairs.explain()[:1].upper()}{pairs.explain()[1:]}.",
        )
    if modes.shape[1] < k:
        _log.warning("the overlap uses %d of %d eigenpairs: %s", modes.shape[1], k, pairs.explain())
    return modes


def overlap_of_bases(Q: Float[Tensor, "N d"], F: Float[Tensor, "N r"]) -> SubspaceOverlap:
    """`subspace_overlap` where orthonormal bases of the modes and of the centred features are at hand already."""
    cosines: Tensor = torch.linalg.svdvals(Q.T @ F)
    return SubspaceOverlap(cosines, overlap=float(cosines.square().sum()), rank=F.shape[1], modes=Q.shape[1])


def orthonormal_basis(columns: Float[Tensor, "N d"], eps: float = _DOUBLE) -> Float[Tensor, "N r"]:
    """Orthonormal basis of the span, by the rank rule of `subspace_overlap`; r may be 0."""
    return _leading_directions(_unit_columns(columns), eps)


def centred_basis(columns: Float[Tensor, "N d"], eps: float = _DOUBLE) -> Float[Tensor, "N r"]:
    """Orthonormal basis of the span of the columns less their means, by the rank rule of `subspace_overlap`."""
    units = _unit_columns(columns)
    return _leading_directions(units - units.mean(dim=0), eps)


def _unit_columns(columns: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    tiny = torch.finfo(columns.dtype).tiny
    columns = columns / columns.abs().amax(dim=0).clamp_min(tiny)  # else the norm may overflow
    norms: Tensor = torch.linalg.vector_norm(columns, dim=0)
    return columns / norms.clamp_min(tiny)


def _leading_directions(columns: Float[Tensor, "N d"], eps: float) -> Float[Tensor, "N r"]:
    U: Tensor
    sizes: Tensor
    U, sizes, _ = torch.linalg.svd(columns, full_matrices=False)
    return U[:, sizes > max(max(columns.shape) * torch.finfo(columns.dtype).eps, 8 * eps)]


def _checked(matrix: Tensor, name: str) -> tuple[Float[Tensor, "N d"], float]:
    """The matrix in float64, and the eps of the dtype that it came in."""
    if matrix.ndim != 2 or matrix.numel() == 0:
        raise InvalidInputError(
            f"expected a matrix with rows and columns, not an array of shape {tuple(matrix.shape)}",
            where=name,
            remedy="Give one row for each input and one column for each mode or feature.",
        )
    eps = torch.finfo(matrix.dtype).eps if matrix.is_floating_point() else _DOUBLE
    matrix = matrix.to(torch.float64)
    if not bool(matrix.isfinite().all()):
        bad = int((~matrix.isfinite().all(dim=0)).nonzero()[0, 0])
        raise NumericalError(
            "the matrix holds NaN or infinity", where=f"{name}, column {bad}", remedy="Remove or repair that column."
        )
    return matrix, eps
