"""Smaller factors that hold nearly all of a kernel: fewer positions, and fewer axes on either side.

Positions whose gradient vanishes (all but the last one, above the last attention) are left out. Each side is
turned to the leading eigenvectors of its second moment weighted by the other side's squared norm, the higher-order
singular value decomposition of the per-window gradients (De Lathauwer et al. 2000). The kernel of the truncated factors
starts a solve of the true one; it never replaces it.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.factors import Part

_POWER_ITERATIONS = 3


def token_energy(part: Part) -> Float[Tensor, "N T"]:
    """|left|^2 |right|^2 of every position, summed over heads: a bound on its share of the kernel's trace."""
    right = _right_energy(part)
    return right.sum(2) if part.one_hot is not None else (_squared_norms(part.left) * right).sum(2)


def without_negligible_positions(part: Part, share: float) -> tuple[Part, float]:
    """The factors at as many positions of each window as hold all but `share` of the energy, the strongest first.

    Returns:
        the smaller part, and the share of the energy that it leaves out.
    """
    energy = token_energy(part)
    total = float(energy.sum())
    ordered, places = energy.sort(dim=1, descending=True)
    left_out = total - ordered.sum(0).cumsum(0)
    kept = int((left_out > share * total).sum()) + 1 if total > 0 else 1
    if kept >= energy.shape[1]:
        return part, 0.0
    index = places[:, :kept].sort(dim=1).values  # (N, T')
    rows = torch.arange(index.shape[0], device=index.device)[:, None]
    right = torch.stack([window[:, at] for window, at in zip(part.right.transpose(0, 1), index, strict=True)])
    smaller = replace(part, left=part.left[rows, index], right=right.transpose(0, 1), positions=index)
    return smaller, max(0.0, float(left_out[kept - 1])) / total if total > 0 else 0.0


def truncated(part: Part, left_axes: int, right_axes: int) -> tuple[Part, float]:
    """The factors with each side on its leading axes; heads stay apart.

    Returns:
        the part with A, B at most as asked, and the larger of the two sides' shares of energy left out. Its axes no
        longer belong to the parameter: it serves for products K v of rows, not for gradients.
    """
    moment = _right_energy(part)  # (N, T, H)
    left, lost_left = part.left, 0.0
    if part.one_hot is None and part.left.shape[3] > left_axes:
        basis, lost_left = _leading_axes(part.left, moment, left_axes)
        left = torch.einsum("ntha,hak->nthk", part.left, basis)
    right, lost_right = part.right, 0.0
    if part.right.shape[4] > right_axes:
        ones = torch.ones(1, 1, 1, device=part.right.device, dtype=torch.float64).expand(moment.shape)
        weight = ones if part.one_hot is not None else _squared_norms(part.left)
        basis, lost_right = _leading_right_axes(part.right, weight, right_axes)
        right = torch.einsum("rnthb,hbk->rnthk", part.right, basis)
    return replace(part, left=left, right=right), max(lost_left, lost_right)


def _right_energy(part: Part) -> Float[Tensor, "N T H"]:
    return _squared_norms(part.right).sum(0)


def _squared_norms(factor: Float[Tensor, "... axes"]) -> Float[Tensor, "..."]:
    """|f|^2 over the last axis: in the factor's dtype, 20 times faster than in float64, and added up in float64."""
    norms: Tensor = torch.linalg.vector_norm(factor, dim=-1)
    return norms.double().square()


def _leading_axes(
    factor: Float[Tensor, "N T H A"], weight: Float[Tensor, "N T H"], axes: int
) -> tuple[Float[Tensor, "H A k"], float]:
    flat = factor.permute(2, 0, 1, 3).flatten(1, 2)  # (H, N T, A)
    scaled = flat * weight.permute(2, 0, 1).flatten(1)[:, :, None].sqrt().to(factor.dtype)
    return _leading(scaled.mT @ scaled, axes)


def _leading_right_axes(
    factor: Float[Tensor, "R N T H B"], weight: Float[Tensor, "N T H"], axes: int
) -> tuple[Float[Tensor, "H B k"], float]:
    scale = weight.permute(2, 0, 1).flatten(1)[:, :, None].sqrt().to(factor.dtype)
    total = torch.zeros(factor.shape[3], factor.shape[4], factor.shape[4], dtype=factor.dtype, device=factor.device)
    for direction in factor:
        scaled = direction.permute(2, 0, 1, 3).flatten(1, 2) * scale
        total += scaled.mT @ scaled
    return _leading(total, axes)


def _leading(moment: Float[Tensor, "H A A"], axes: int) -> tuple[Float[Tensor, "H A k"], float]:
    """A basis of nearly the leading eigenvectors, and the share of the trace outside it.

    By a randomised range finder with power iterations (Halko, Martinsson and Tropp 2011, algorithm 4.4): a start need
    not be exact, and all eigenvectors of 2,048 axes would take ten seconds.
    """
    H, A, _ = moment.shape
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(A, axes, generator=generator, dtype=torch.float64).to(moment).expand(H, -1, -1)
    for _ in range(_POWER_ITERATIONS):
        basis = torch.linalg.qr(moment @ basis)[0]
    total = float(moment.diagonal(dim1=1, dim2=2).sum())
    held = float(torch.einsum("hak,hab,hbk->", basis, moment, basis))
    return basis, max(0.0, 1 - held / total) if total > 0 else 0.0
