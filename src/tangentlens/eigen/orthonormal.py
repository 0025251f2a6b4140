"""Orthonormal completion of a basis, one block at a time."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from tangentlens.eigen.blas import multiply

_MOST_PASSES = 4


def complement(
    V: Float[Tensor, "m n"], W: Float[Tensor, "n b"], threshold: float
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "m b"]]:
    """An orthonormal basis Q of the part of W outside the rows of V, and the coefficients V W of the part inside.

    Block Gram-Schmidt twice, with a rank-revealing factorisation (QR, then the SVD of its small factor) between the
    passes: the second pass acts on unit columns and so restores orthogonality to rounding (twice is enough: Daniel,
    Gragg, Kaufman & Stewart 1976; Giraud, Langou & Rozloznik 2005). Where a column shrinks by half in it, its direction
    was mostly rounding, and the pass is repeated.

    Args:
        V: (m, n) orthonormal rows.
        W: (n, b) any columns.
        threshold: directions of W outside V that are shorter than this are dropped, so c <= b; and
            c <= n - m, whatever rounding makes of an empty complement.
    """
    inside = multiply(V, W)
    Q, R = torch.linalg.qr(W - multiply(V.T, inside))
    left, sizes, _ = torch.linalg.svd(R)
    Q = multiply(Q, left[:, sizes > threshold][:, : V.shape[1] - V.shape[0]])
    for _ in range(_MOST_PASSES):
        Q, R = torch.linalg.qr(Q - multiply(V.T, multiply(V, Q)))
        if bool((R.diagonal().abs() > 0.5).all()):
            break
    return Q, inside


def random_columns(n: int, count: int, generator: Generator, device: torch.device) -> Float[Tensor, "n count"]:
    """Standard normal columns, the same numbers on every device."""
    return torch.randn(n, count, generator=generator, dtype=torch.float64).to(device)
