"""Null distributions of the overlap between modes and features, over random subspaces and random features.

Let Q be an orthonormal basis of a uniformly random d-dimensional subspace of an m-dimensional space, and F one of r
fixed dimensions in it. The overlap is tr(F^T Q Q^T F). E[Q Q^T] commutes with every rotation and has trace d: it is
(d / m) I, so that the mean overlap is d r / m. What m is depends on the modes: features are centred over n inputs and
lie in the n - 1 dimensions of centred vectors; for modes that need not be centred (an eNTK's) the space is all of R^n
and m = n, for modes of a centred kernel (PCA) m = n - 1.

A kernel with the given eigenvalues and uniformly random eigenvectors has a uniformly random leading space: there the
spectrum plays no part. It does where directions are drawn from the kernel itself; see `spectrum_weighted_overlaps`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.features.functions import random_functions


def random_overlap_mean(d: int, r: int, m: int) -> float:
    """d r / m, the mean overlap of a random d-dimensional subspace of m dimensions with r fixed ones.

    Raises:
        InvalidInputError: d or r is negative or above m, or m is below 1.
    """
    _check_dimensions(d, r, m)
    return d * r / m


def random_overlaps(d: int, r: int, m: int, *, draws: int, generator: torch.Generator) -> Float[Tensor, " draws"]:
    """Overlaps of uniformly random d-dimensional subspaces of m dimensions with r fixed dimensions.

    Q may as well be held and F be drawn, from m rows of r Gaussian columns: with G the whole of them and H the first d
    rows, the overlap is tr((G^T G)^-1 H^T H). The smaller of d and r is drawn, and a space of more than half the
    dimensions is replaced by its complement.

    Raises:
        InvalidInputError: dimensions as `random_overlap_mean`, or fewer than 1 draw.
    """
    _check_dimensions(d, r, m)
    _check_draws(draws)
    small, large = min(d, r), max(d, r)
    if 2 * large > m:  # tr(P F) = r - tr((I - P) F)
        return small - random_overlaps(m - large, small, m, draws=draws, generator=generator)
    if small == 0:
        return torch.zeros(draws, dtype=torch.float64)
    overlaps = []
    for count in _pieces(draws, m * small):
        G = torch.randn(count, m, small, generator=generator, dtype=torch.float64)
        H = G[:, :large]
        overlaps.append(torch.linalg.solve(G.mT @ G, H.mT @ H).diagonal(dim1=1, dim2=2).sum(dim=1))
    return torch.cat(overlaps)


def spectrum_weighted_overlaps(
    values: Tensor, vectors: Tensor, features: Tensor, d: int, *, draws: int, generator: torch.Generator
) -> Float[Tensor, " draws"]:
    """Overlaps of the span of d random directions drawn from the kernel: columns K^(1/2) g with Gaussian g.

    These are d independent samples of the Gaussian process with covariance K, so a direction's share of mode i is
    lambda_i on average. The null keeps the kernel's spectrum and modes and gives up only that the leading modes were
    taken: an overlap above it says that the features lie in the leading modes rather than anywhere the kernel weighs.
    With a flat spectrum over all of R^n it is the uniform null; where the spectrum falls to nothing behind mode d it is
    the leading space itself, and nothing can exceed it.

    Args:
        values: (k,) eigenvalues, not negative, at least d of them positive.
        vectors: (n, k) orthonormal eigenvectors in columns; modes left out count as of eigenvalue zero.
        features: (n, r) orthonormal basis of the centred features (`alignment.overlap.centred_basis`).
        d: dimension of the subspaces.
        draws: number of subspaces.
        generator: source of the directions.

    Raises:
        InvalidInputError: shapes that do not fit, columns that are not orthonormal, a negative value, d out of range,
            or fewer than 1 draw.
    """
    _check_draws(draws)
    lam, V, F = (t.detach().cpu().to(torch.float64) for t in (values, vectors, features))
    if lam.ndim != 1 or V.ndim != 2 or F.ndim != 2 or V.shape[1] != len(lam) or len(V) != len(F):
        raise InvalidInputError(
            f"values {tuple(lam.shape)}, vectors {tuple(V.shape)} and features {tuple(F.shape)} do not fit",
            where="spectrum_weighted_overlaps",
        )
    _check_orthonormal(V, "vectors")
    _check_orthonormal(F, "features")
    if not bool((lam >= 0).all()) or not 1 <= d <= int((lam > 0).sum()):
        raise InvalidInputError(
            f"d = {d} directions of {int((lam > 0).sum())} positive and {int((lam < 0).sum())} negative eigenvalues",
            where="values",
            remedy="Leave out eigenvalues that are rounding, and take d no larger than what is left.",
        )
    inside, weights = V.T @ F, lam.sqrt()[:, None]
    overlaps = []
    for count in _pieces(draws, len(lam) * d):
        Q, _ = torch.linalg.qr(weights * torch.randn(count, len(lam), d, generator=generator, dtype=torch.float64))
        overlaps.append((Q.mT @ inside).square().sum(dim=(1, 2)))
    return torch.cat(overlaps)


def random_feature_spaces(N: int, dimension: int, count: int, generator: torch.Generator) -> Float[Tensor, "R N d"]:
    """Draw `count` random feature spaces with mean zero over N inputs, each of the dimension of a family."""
    return torch.stack([random_functions(N, dimension, generator) for _ in range(count)])


def random_feature_overlaps(modes: Float[Tensor, "N d"], spaces: Float[Tensor, "R N r"]) -> Float[Tensor, " R"]:
    """Percent of each random feature space inside the modes: the null of an overlap along training."""
    R, N, r = spaces.shape
    inside = modes.T @ spaces.transpose(0, 1).reshape(N, R * r).to(modes)  # (d, R r)
    return 100 * inside.square().sum(dim=0).reshape(R, r).mean(dim=1)


def _pieces(draws: int, entries: int) -> list[int]:
    """Numbers of draws to take at a time, so that they hold 2^22 numbers together (32 MB) or are single ones."""
    size = max(1, 2**22 // entries)
    return [min(size, draws - start) for start in range(0, draws, size)]


def _check_dimensions(d: int, r: int, m: int) -> None:
    if m < 1 or not 0 <= d <= m or not 0 <= r <= m:
        raise InvalidInputError(
            f"subspaces of {d} and {r} dimensions in {m}", where="dimensions", remedy="Give 0 <= d, r <= m, m >= 1."
        )


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise InvalidInputError(f"draws={draws}", where="draws", remedy="Draw at least once.")


def _check_orthonormal(columns: Float[Tensor, "n k"], name: str) -> None:
    error = (columns.T @ columns - torch.eye(columns.shape[1], dtype=columns.dtype)).abs()
    if not bool((error < 1e-6).all()):
        raise InvalidInputError("the columns are not orthonormal", where=name, remedy="Give an orthonormal basis.")
