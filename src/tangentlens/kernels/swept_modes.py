"""Leading modes of a compressed kernel, and how far they are from modes of the full one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen import top_eigenpairs
from tangentlens.eigen.block_lanczos import block_lanczos
from tangentlens.eigen.rayleigh_ritz import Projection, orthonormal_basis
from tangentlens.kernels.compressed import CompressedKernel, FrameParts
from tangentlens.kernels.factors import Axes, Part
from tangentlens.kernels.truncation import truncated
from tangentlens.records import Eigenpairs

_START_AXES = 128  # of either side, in the truncated kernel that starts a solve
_START_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SweptModes:
    """Leading modes of one group's kernel, from the compressed rows, with what the compression leaves out.

    Attributes:
        pairs: eigenpairs on the rows (window, direction), with their true residuals there.
        outside: (k,) estimated norm of the part of K v outside the basis, relative to the eigenvalue.
        outside_error: (k,) standard error of that estimate.
        readings: what else was taken while the kernel was there.
    """

    pairs: Eigenpairs
    outside: Float[Tensor, " k"]
    outside_error: Float[Tensor, " k"]
    readings: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def residuals(self) -> Float[Tensor, " k"]:
        """(k,) estimated relative residual of the lifted modes as eigenvectors of the full kernel."""
        return (self.pairs.residuals.square() + self.outside.square()).sqrt()


def swept_modes(kernel: CompressedKernel, k: int, tolerance: float, coordinates: int) -> SweptModes:
    """The leading modes of a compressed kernel, and an estimate of what the full kernel makes of them outside.

    The modes of the truncated kernel span a space that one product with the true one projects, certifies and measures
    on the probes; block Lanczos goes on from there only where a residual is above the tolerance.

    Args:
        kernel: its factors hold the probes behind the directions.
        k: modes; fewer where there are fewer rows.
        tolerance: relative residual on the compressed rows.
        coordinates: d, of which the kernel's directions are some.
    """
    k = min(k, kernel.shape[0])
    columns = k + max(5, k // 5)
    start = torch.eye(kernel.shape[0], dtype=torch.float64, device=kernel.device)
    if kernel.shape[0] > 4 * columns:  # else as many products as a solve takes give the matrix itself
        start = _start(kernel, columns)
    modes = _projected(kernel, start, k, tolerance, coordinates)
    if bool(modes.pairs.converged.all()):
        return modes
    more = top_eigenpairs(kernel, k, tolerance, start=modes.pairs.vectors)
    again = _projected(kernel, more.vectors, k, tolerance, coordinates)
    spent = modes.pairs.products + more.products + again.pairs.products
    return replace(again, pairs=replace(again.pairs, products=spent))


def _projected(
    kernel: CompressedKernel, space: Float[Tensor, "rows m"], k: int, tolerance: float, coordinates: int
) -> SweptModes:
    """Rayleigh-Ritz on a space, from one product that goes to the probes too."""
    V = orthonormal_basis(space, k)
    pushed = kernel.to_all_directions(V).double()  # (N, r + q, m)
    inside, probed = pushed[:, : kernel.directions].flatten(0, 1), pushed[:, kernel.directions :]
    pairs, coefficients = Projection(V, inside).pairs(k, tolerance)
    outside, error = outside_norms(probed @ coefficients, pairs.values, coordinates - kernel.directions)
    return SweptModes(pairs, outside, error)


def outside_norms(
    probed: Float[Tensor, "N q k"], values: Float[Tensor, " k"], missing: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """||(I - Q Q^T) K v|| / lambda of every lifted mode, from the probes, and its standard error.

    With q unit probes z for each window, uniform in the complement of dimension d - r, the squared norm is estimated
    without bias by (d - r) / q * sum_i sum_z (z . J_i u)^2, u = J^T v. The standard error is that of a sum of
    independent windows; both are zero where there are no probes.

    Args:
        probed: z . J_i u of every window, probe and mode.
        values: the modes' eigenvalues.
        missing: d - r.
    """
    windows, probes, k = probed.shape
    if probes == 0 or missing == 0:
        return torch.zeros(k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    terms = missing * probed.square().mean(1)  # (N, k)
    norm = terms.sum(0).sqrt()
    spread = (terms.var(0) * windows).sqrt() if windows > 1 else norm.square()
    error = torch.where(norm > 0, spread / (2 * norm), norm)
    return (norm / values.abs()).cpu(), (error / values.abs()).cpu()


def _start(kernel: CompressedKernel, columns: int) -> Float[Tensor, "rows m"]:
    frames = tuple(_truncated_frame(frame) for frame in kernel.frames)
    small = CompressedKernel(frames, kernel.directions, f"{kernel.name}, truncated")
    return block_lanczos(small, columns, _START_TOLERANCE, start=None, max_products=6 * columns, seed=0).vectors


def _truncated_frame(frame: FrameParts) -> FrameParts:
    """The factors on fewer axes; those of several uses are left alone, for they must stay in one set of axes."""
    if len(frame.parts) > 1:
        return frame
    part, _ = truncated(frame.parts[0], _START_AXES, _START_AXES)
    return FrameParts((_in_own_axes(part),))


def _in_own_axes(part: Part) -> Part:
    """The part of a tensor (H, A, B) of its own."""
    heads, right = part.right.shape[3:]
    left = part.one_hot if part.one_hot is not None else part.left.shape[3]
    return replace(part, axes=Axes((0,), (1,), (2,)), value_sizes=(heads, left, right))
