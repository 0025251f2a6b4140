"""How much of a feature space lies in the span of given modes."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.records import SubspaceOverlap


def subspace_overlap(vectors: Tensor, features: Tensor) -> SubspaceOverlap:
    """Overlap of span(features), mean-centred over the inputs, with span(vectors).

    With Q an orthonormal basis of the modes, (N, d), F one of the centred features, (N, r), and s the singular values
    of Q^T F, which are the cosines of the principal angles, the overlap is sum s^2, between 0 and r ("Feature
    Identification via the Empirical NTK", arXiv 2510.00468). For a random subspace it is r d / N on average.
    Computed in float64. The modes are not centred.

    Rank rule: columns are scaled to length 1 (which changes no span), features then centred; directions whose
    singular value is at most max(N, columns) * eps, eps = 2^-52, are rounding and do not count.

    Args:
        vectors: (N, d) modes in columns, any real dtype; they need not be orthonormal.
        features: (N, K) features in columns, any real dtype; repeated, dependent or constant columns are allowed.

    Returns:
        singular_values (min(d, r),) descending, overlap, rank r; `percent` is NaN where r = 0.

    Raises:
        InvalidInputError: an argument is not a matrix, is empty or complex, or the numbers of rows differ.
        NumericalError: an argument holds NaN or infinity.
    """
    modes, targets = _checked(vectors, "vectors"), _checked(features, "features")
    if len(modes) != len(targets):
        raise InvalidInputError(
            f"the modes have {len(modes)} rows and the features {len(targets)}",
            where="subspace_overlap",
            remedy="Give both one row for each input, in the same order.",
        )
    return overlap_of_bases(orthonormal_basis(modes), centred_basis(targets.to(modes.device)))


def overlap_of_bases(Q: Float[Tensor, "N d"], F: Float[Tensor, "N r"]) -> SubspaceOverlap:
    """`subspace_overlap` where orthonormal bases of the modes and of the centred features are at hand already."""
    cosines: Tensor = torch.linalg.svdvals(Q.T @ F)
    return SubspaceOverlap(singular_values=cosines, overlap=float(cosines.square().sum()), rank=F.shape[1])


def orthonormal_basis(columns: Float[Tensor, "N d"]) -> Float[Tensor, "N r"]:
    """Orthonormal basis of the span, by the rank rule of `subspace_overlap`; r may be 0."""
    return _leading_directions(_unit_columns(columns))


def centred_basis(columns: Float[Tensor, "N d"]) -> Float[Tensor, "N r"]:
    """Orthonormal basis of the span of the columns less their means, by the rank rule of `subspace_overlap`."""
    units = _unit_columns(columns)
    return _leading_directions(units - units.mean(dim=0))


def _unit_columns(columns: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    tiny = torch.finfo(columns.dtype).tiny
    columns = columns / columns.abs().amax(dim=0).clamp_min(tiny)  # else the norm may overflow
    norms: Tensor = torch.linalg.vector_norm(columns, dim=0)
    return columns / norms.clamp_min(tiny)


def _leading_directions(columns: Float[Tensor, "N d"]) -> Float[Tensor, "N r"]:
    U: Tensor
    sizes: Tensor
    U, sizes, _ = torch.linalg.svd(columns, full_matrices=False)
    return U[:, sizes > max(columns.shape) * torch.finfo(columns.dtype).eps]


def _checked(matrix: Tensor, name: str) -> Float[Tensor, "N d"]:
    if matrix.ndim != 2 or matrix.numel() == 0 or matrix.is_complex():
        raise InvalidInputError(
            f"expected a real matrix with rows and columns, not {matrix.dtype} of shape {tuple(matrix.shape)}",
            where=name,
            remedy="Give one row for each input and one column for each mode or feature.",
        )
    matrix = matrix.detach().to(torch.float64)
    if not bool(matrix.isfinite().all()):
        bad = int((~matrix.isfinite().all(dim=0)).nonzero()[0, 0])
        raise NumericalError(
            "the matrix holds NaN or infinity", where=f"{name}, column {bad}", remedy="Remove or repair that column."
        )
    return matrix
