"""One rotation that makes several symmetric matrices as diagonal as possible at the same time."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError


@dataclass(frozen=True)
class JointDiagonalisation:
    """The rotation found, and how far it got.

    Attributes:
        rotation: (d, d) orthogonal U; U^T A U is nearly diagonal for every matrix A.
        off_diagonal: share of the sum of all squares that is left off the diagonals; 0 where the matrices commute.
        sweeps: passes over all pairs of columns.
        converged: whether the last sweep changed the objective by no more than the tolerance.
    """

    rotation: Float[Tensor, "d d"]
    off_diagonal: float
    sweeps: int
    converged: bool


def jointly_diagonalise(matrices: Tensor, *, tol: float = 1e-10, max_sweeps: int = 100) -> JointDiagonalisation:
    """Minimise the sum of squares off the diagonals of U^T A_i U over rotations U, by plane rotations.

    Each plane's angle is the exact minimiser (Cardoso and Souloumiac, SIAM J. Matrix Anal. Appl. 17, 1996); a sweep
    visits all pairs of columns in d - 1 rounds of disjoint pairs, which are rotated together. The objective never
    rises; the minimum found is a local one where the matrices do not commute.

    Args:
        matrices: (matrices, d, d) real and symmetric.
        tol: smallest decrease in one sweep worth going on for, as a share of the sum of all squares.
        max_sweeps: where to stop in any case.

    Raises:
        InvalidInputError: the matrices are not square.
        NumericalError: the matrices hold NaN or infinity.
    """
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.numel() == 0:
        raise InvalidInputError(f"expected a stack of square matrices, not shape {tuple(matrices.shape)}")
    if not bool(matrices.isfinite().all()):
        raise NumericalError("the matrices hold NaN or infinity", where="jointly_diagonalise")
    A = matrices.to(torch.float64, copy=True)
    U = torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    total = max(float(A.square().sum()), torch.finfo(A.dtype).tiny)
    rounds = _rounds(A.shape[1])
    share, decrease, sweeps = _off_diagonal(A) / total, float("inf"), 0
    while decrease > tol and sweeps < max_sweeps:
        for i, j in rounds:
            _rotate(A, U, i, j)
        before, share, sweeps = share, _off_diagonal(A) / total, sweeps + 1
        decrease = before - share
    return JointDiagonalisation(rotation=U, off_diagonal=share, sweeps=sweeps, converged=decrease <= tol)


def _rounds(d: int) -> list[tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]]:
    """All pairs of d columns in rounds of disjoint pairs: the circle schedule of a tournament, one idle if d is odd."""
    even = d + d % 2
    circle = list(range(1, even))
    rounds = []
    for _ in range(even - 1):
        order = [0, *circle]
        pairs = [pair for pair in zip(order[: even // 2], reversed(order[even // 2 :]), strict=True) if max(pair) < d]
        i, j = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(dim=1)
        rounds.append((i, j))
        circle = circle[-1:] + circle[:-1]
    return rounds


def _rotate(
    A: Float[Tensor, "matrices d d"], U: Float[Tensor, "d d"], i: Int[Tensor, " pairs"], j: Int[Tensor, " pairs"]
) -> None:
    """Rotate the planes (i, j) by their best angles, in place in A and U."""
    difference, coupling = A[:, i, i] - A[:, j, j], 2 * A[:, i, j]  # (matrices, pairs)
    x = (difference.square() - coupling.square()).sum(dim=0)
    y = 2 * (difference * coupling).sum(dim=0)
    angle = torch.atan2(y, x + torch.hypot(x, y)) / 2  # within +- pi / 4: columns keep their place
    c, s = angle.cos(), angle.sin()
    for columns in (A, U):
        left, right = columns[..., i], columns[..., j]
        columns[..., i], columns[..., j] = c * left + s * right, c * right - s * left
    upper, lower = A[:, i], A[:, j]
    A[:, i], A[:, j] = c[:, None] * upper + s[:, None] * lower, c[:, None] * lower - s[:, None] * upper


def _off_diagonal(A: Float[Tensor, "matrices d d"]) -> float:
    return float((A - torch.diag_embed(A.diagonal(dim1=1, dim2=2))).square().sum())
