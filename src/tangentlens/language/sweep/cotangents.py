"""Cotangents of a sweep: output directions of every window, pulled back to its final hidden state."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.geometry import LogitGeometry, Roots
from tangentlens.language.sweep.output_basis import probe_directions

_ROOT_WINDOWS = 16  # whose S^(1/2), d^2 numbers in float64, are in memory at once


@dataclass(frozen=True)
class Cotangents:
    """Output directions and cotangents of all windows.

    Attributes:
        basis: (d, r), or (N, d, r) with one for each window.
        values: (R, N, d), S^(1/2) times every direction of the basis and times each window's own probes, in the model's
            dtype.
        left_out: relative error of each window's S along its leading directions.
    """

    basis: Tensor
    values: Float[Tensor, "R N d"]
    left_out: Float[Tensor, " N"]


def cotangents(
    units: LogitGeometry, hidden: Float[Tensor, "N d"], basis: Tensor | int, probes: int = 0, seed: int = 0
) -> Cotangents:
    """Output directions of all windows and their cotangents.

    Args:
        basis: (d, r), (N, d, r), or r: so many leading eigenvectors of each window's own S.
        probes: random directions outside the basis, for each window.
    """
    drawn = torch.randn(probes, *hidden.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    pieces = []
    for start in range(0, len(hidden), _ROOT_WINDOWS):
        rows = slice(start, start + _ROOT_WINDOWS)
        roots = units.roots(hidden[rows], basis if isinstance(basis, int) else basis.shape[-1])
        own = _own(roots, basis, rows, len(hidden))
        directions = torch.cat([own.permute(2, 0, 1), probe_directions(own, drawn[:, rows])])  # (R, n, d)
        pulled = torch.einsum("rnd,nde->rne", directions, roots.factors).to(hidden.dtype)
        pieces.append((own, pulled, roots.left_out))
    owns, values, left_out = zip(*pieces, strict=True)
    found = basis if isinstance(basis, Tensor) else torch.cat(owns)
    return Cotangents(found, torch.cat(values, dim=1), torch.cat(left_out))


def _own(roots: Roots, basis: Tensor | int, rows: slice, windows: int) -> Float[Tensor, "n d r"]:
    """The directions of some windows."""
    if isinstance(basis, Tensor):
        own: Tensor = basis.expand(windows, -1, -1)[rows]
        return own
    if roots.own is None:
        raise InvalidInputError("the windows have no directions of their own in this geometry", where="directions")
    return roots.own
