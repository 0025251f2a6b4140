"""Smaller factors that hold nearly all of a kernel: fewer positions, and fewer axes on either side.

Positions whose gradient vanishes (all but the last one, above the last attention) are left out. Each side is
turned to the leading eigenvectors of its second moment weighted by the other side's squared norm, the higher-order
singular value decomposition of the per-window gradients (De Lathauwer et al. 2000). The kernel of the truncated factors
starts a solve of the true one; it never replaces it.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.kernels.factored.factors import Factors

_WORTH_A_COPY = 0.75  # of the positions, at most: a copy that hardly saves products would double the memory
_SAMPLE = 2**14  # pairs that the second moments are estimated from
_POWER_ITERATIONS = 3


def token_energy(use: Factors) -> Float[Tensor, "N T"]:
    """|left|^2 |right|^2 of every position, summed over heads: a bound on its share of the kernel's trace."""
    return _energy(use).sum((1, 3))


def without_negligible_positions(use: Factors, share: float) -> tuple[Factors, float]:
    """The factors at as many positions of each window as hold all but `share` of the energy, the strongest first.

    Returns:
        the smaller factors, or the same where they would hardly be smaller, and the share of the energy that they leave
        out.
    """
    energy = token_energy(use)
    total = float(energy.sum())
    ordered, places = energy.sort(dim=1, descending=True)
    left_out = total - ordered.sum(0).cumsum(0)
    kept = int((left_out > share * total).sum()) + 1 if total > 0 else 1
    if kept > _WORTH_A_COPY * energy.shape[1]:
        return use, 0.0
    index = places[:, :kept].sort(dim=1).values  # (N, T')
    rows = torch.arange(index.shape[0], device=index.device)[:, None]
    right = torch.stack([window[:, at] for window, at in zip(use.right.transpose(0, 1), index, strict=True)])
    smaller = replace(use, left=use.left[rows, index], right=right.transpose(0, 1), positions=index)
    return smaller, max(0.0, float(left_out[kept - 1])) / total if total > 0 else 0.0


def truncated(use: Factors, left_axes: int, right_axes: int) -> Factors:
    """The factors with each side on its leading axes, A and B at most as asked; heads stay apart.

    The second moments are those of a sample (Frieze, Kannan and Vempala 2004): positions and directions drawn in
    proportion to their energy, with unit factors, give them without bias. The factors' axes no longer belong to the
    parameter: they serve for products K v of rows, not for gradients.
    """
    wide_left = use.one_hot is None and use.left.shape[3] > left_axes
    wide_right = use.right.shape[4] > right_axes
    if not wide_left and not wide_right:
        return use
    left, right = use.left, use.right.transpose(0, 1)  # (N, R, T, H, B), as it lies in memory
    n, r, t, head = _drawn(_energy(use))
    if wide_left:
        left = torch.einsum("ntha,hak->nthk", left, _leading(left[n, t, head], left_axes))
    if wide_right:
        right = torch.einsum("nrthb,hbk->nrthk", right, _leading(right[n, r, t, head], right_axes))
    return replace(use, left=left, right=right.transpose(0, 1))


def _drawn(energy: Float[Tensor, "N R T H"]) -> tuple[Int[Tensor, "H s"], ...]:
    """Where a sample lies on the four axes, drawn with probability in proportion to the energy for each head."""
    _, R, T, H = energy.shape
    cumulative = energy.flatten(0, 2).T.cumsum(1)  # (H, N R T)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(H, _SAMPLE, generator=generator, dtype=torch.float64).to(cumulative) * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, drawn, right=True).clamp(max=cumulative.shape[1] - 1)
    return found // (R * T), found // T % R, found % T, torch.arange(H, device=found.device)[:, None]


def _energy(use: Factors) -> Float[Tensor, "N R T H"]:
    """|left|^2 |right|^2 of every direction and position."""
    right = _squared_norms(use.right.transpose(0, 1))
    return right if use.one_hot is not None else right * _squared_norms(use.left)[:, None]


def _squared_norms(factor: Float[Tensor, "... axes"]) -> Float[Tensor, "..."]:
    """|f|^2 over the last axis: in the factor's dtype, 20 times faster than in float64, and added up in float64."""
    norms: Tensor = torch.linalg.vector_norm(factor, dim=-1)
    return norms.double().square()


def _leading(sample: Float[Tensor, "H s A"], axes: int) -> Float[Tensor, "H A k"]:
    """A basis of nearly the leading right singular vectors of the sample, each row made a unit vector.

    By a randomised range finder with power iterations (Halko, Martinsson and Tropp 2011, algorithm 4.4): a start need
    not be exact, and all eigenvectors of 2,048 axes would take ten seconds.
    """
    units = torch.nn.functional.normalize(sample, dim=2)
    gram = units.mT @ units
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(gram.shape[1], axes, generator=generator, dtype=torch.float64).to(gram)
    basis = basis.expand(len(gram), -1, -1)
    for _ in range(_POWER_ITERATIONS):
        basis = torch.linalg.qr(gram @ basis)[0]
    return basis
