"""Rotation inside a degenerate cliff of modular addition, so that single modes can be shown.

The pairs (n, m) lie on a p x p torus, pair (n, m) in row n * p + m. Modes of (nearly) equal eigenvalue are an arbitrary
basis of their space; the Laplacians of the torus, restricted to that space, separate it into waves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.joint_diagonalisation import jointly_diagonalise
from tangentlens.errors import InvalidInputError
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.records import Eigenpairs

N_AXIS, M_AXIS, DIAGONAL = (1, 0), (0, 1), (1, 1)


@dataclass(frozen=True)
class RotatedModes:
    """The modes of a cliff after rotation, ordered by frequency, then by wavenumbers.

    Attributes:
        vectors: (N, d) orthonormal, float64, the same span as before.
        wavenumbers: (d, 2) int64 [a, b]: the wave cos or sin of 2 pi (a n + b m) / p that holds most of the mode's
            power; 0 <= a <= p / 2, |b| <= p / 2.
        frequency: (d,) int64: max(|a|, |b|), the k of the families n, m, sum and difference.
        purity: (d,) share of the mode's power in that wave, 1 for a pure one.
        off_diagonal: what the rotation left, see JointDiagonalisation.
    """

    vectors: Float[Tensor, "N d"]
    wavenumbers: Int[Tensor, "d 2"]
    frequency: Int[Tensor, " d"]
    purity: Float[Tensor, " d"]
    off_diagonal: float


def rotate_by_frequency(
    vectors: ArrayLike | Eigenpairs, p: int, directions: Sequence[tuple[int, int]] = (N_AXIS, M_AXIS, DIAGONAL)
) -> RotatedModes:
    """Rotate orthonormal modes so that the torus Laplacians restricted to them are jointly as diagonal as possible.

    The Laplacian of a direction (s, t), (L x)(n, m) = 2 x(n, m) - x(n + s, m + t) - x(n - s, m - t), has the waves of
    wavenumbers (a, b) as eigenvectors, with eigenvalue 2 - 2 cos(2 pi (a s + b t) / p). The n-axis and the m-axis
    separate |a| and |b|, which parts frequencies; the diagonal also parts (k, k), a sum wave, from (k, -k), a
    difference wave. Cosine and sine of one wave stay an arbitrary pair. All Laplacians are diagonalised at once: done
    one after the other, what leaks out of the cliff mixes the frequencies found first.

    Args:
        vectors: (p^2, d) orthonormal modes in columns, an array, or Eigenpairs for their modes.
        p: modulus.
        directions: steps (s, t) on the torus.

    Raises:
        InvalidInputError: the vectors are not orthonormal columns over p^2 rows.
        NumericalError: the vectors hold NaN or infinity.
    """
    V = real_tensor(vectors.modes if isinstance(vectors, Eigenpairs) else vectors, "vectors").to(torch.float64)
    if V.ndim != 2 or len(V) != p * p or V.shape[1] == 0:
        raise InvalidInputError(
            f"modes of shape {tuple(V.shape)} do not lie over the {p} x {p} pairs",
            where="rotate_by_frequency",
            remedy=f"Give a matrix of {p * p} rows.",
        )
    joint = jointly_diagonalise(torch.stack([_restricted_laplacian(V, p, step) for step in directions]))
    error = float((V.T @ V - torch.eye(V.shape[1], dtype=V.dtype, device=V.device)).abs().max())
    if error > 1e-4:
        raise InvalidInputError(
            f"the modes are not orthonormal (V^T V differs from the identity by {error:.1e})",
            where="rotate_by_frequency",
            remedy="Give eigenvectors, or orthonormalise the columns first.",
        )
    rotated = V @ joint.rotation
    wavenumbers, purity = dominant_wave(rotated, p)
    frequency = wavenumbers.abs().amax(dim=1)
    key = (frequency * (p + 1) + wavenumbers[:, 0]) * (2 * p + 1) + wavenumbers[:, 1]  # frequency, then a, then b
    order = key.argsort(stable=True)
    return RotatedModes(rotated[:, order], wavenumbers[order], frequency[order], purity[order], joint.off_diagonal)


def dominant_wave(vectors: Float[Tensor, "N d"], p: int) -> tuple[Int[Tensor, "d 2"], Float[Tensor, " d"]]:
    """Wavenumbers (a, b) that hold most of each vector's power, and their share of it.

    A real wave puts its power in (a, b) and (-a, -b) alike: they are counted together and named by a >= 0.
    """
    power = torch.fft.fft2(vectors.T.reshape(-1, p, p)).abs().square().flatten(start_dim=1)  # (d, p^2)
    peak, where = power.max(dim=1)
    a, b = where // p, where % p
    own_mirror = ((2 * a) % p == 0) & ((2 * b) % p == 0)
    share = torch.where(own_mirror, 1.0, 2.0) * peak / power.sum(dim=1).clamp_min(torch.finfo(power.dtype).tiny)
    return _canonical(a, b, p), share


def _canonical(a: Int[Tensor, " d"], b: Int[Tensor, " d"], p: int) -> Int[Tensor, "d 2"]:
    """Of (a, b) and (-a, -b) modulo p the one with 0 <= a <= p / 2, and b in (-p / 2, p / 2]."""
    flip = 2 * a > p
    a, b = torch.where(flip, p - a, a), torch.where(flip, (p - b) % p, b)
    b = torch.where(2 * b > p, b - p, b)
    b = torch.where((2 * a) % p == 0, b.abs(), b)
    return torch.stack([a, b], dim=1)


def _restricted_laplacian(V: Float[Tensor, "N d"], p: int, step: tuple[int, int]) -> Float[Tensor, "d d"]:
    grid = V.T.reshape(-1, p, p)
    backward = (-step[0], -step[1])
    image = 2 * grid - grid.roll(step, dims=(1, 2)) - grid.roll(backward, dims=(1, 2))
    restricted = V.T @ image.flatten(start_dim=1).T
    return (restricted + restricted.T) / 2  # symmetric but for rounding: L is, and V is applied on both sides
