"""Approximate eigenmodes: those of a compressed kernel, with estimated residuals as modes of the full one."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.block_lanczos import block_lanczos
from tangentlens.eigen.rayleigh_ritz import Projection, orthonormal_basis
from tangentlens.kernels.factored.factors import Axes, Factors
from tangentlens.language.sweep.compressed import CompressedKernel, ViewFactors
from tangentlens.language.sweep.truncation import truncated
from tangentlens.records import Eigenpairs

_START_AXES = 128  # of either side, in the truncated kernel that starts a solve
_START_TOLERANCE = 1e-3
_EXPANSIONS = 12  # of the space that a solve begins with, at most


@dataclass(frozen=True)
class ApproximateModes:
    """Approximate leading eigenmodes of one group's kernel, from the compressed rows, with their error.

    Attributes:
        pairs: eigenpairs on the rows (window, direction), with their true residuals there.
        outside: (k,) estimated norm of the part of K v outside the basis, relative to the eigenvalue.
        outside_error: (k,) standard error of that estimate.
        left_out: (k,) what the error of the windows' S adds to the residual, relative to the eigenvalue.
        check: relative error of a sample of the kernel against plain autograd; None where it was not checked.
        statistics: what a recorder took of the kernel and its modes.
        moves: (k, *canonical axes) of J^T v for each view of the kernel, for recorders, where they fit into memory
            together; else empty.
    """

    pairs: Eigenpairs
    outside: Float[Tensor, " k"]
    outside_error: Float[Tensor, " k"]
    left_out: Float[Tensor, " k"]
    check: float | None = None
    statistics: Mapping[str, Tensor] = field(default_factory=dict)
    moves: tuple[Tensor, ...] = ()

    @property
    def residuals(self) -> Float[Tensor, " k"]:
        """(k,) estimated relative residual of the lifted modes as eigenvectors of the full kernel."""
        return (self.pairs.residuals.square() + self.outside.square() + self.left_out.square()).sqrt()

    @property
    def readings(self) -> Mapping[str, Tensor]:
        """Deprecated name of `statistics`."""
        warnings.warn("ApproximateModes.readings is called statistics", DeprecationWarning, stacklevel=2)
        return self.statistics


# takes statistics of a kernel, its modes and the basis (d, r) or (N, d, r) while the kernel is in memory
Recorder = Callable[[CompressedKernel, ApproximateModes, Tensor], Mapping[str, Tensor]]


def record_nothing(kernel: CompressedKernel, modes: ApproximateModes, basis: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG001
    """The recorder that takes no statistics."""
    return {}


def approximate_modes(kernel: CompressedKernel, k: int, tolerance: float, coordinates: int) -> ApproximateModes:
    """Leading modes of a compressed kernel, and an estimate of the part of the full kernel's products outside.

    The modes of the truncated kernel span a space. One product with the compressed kernel projects onto it, gives
    residuals, and measures the products on the probes. Where residuals are above the tolerance they are added to the
    space, one block of a Krylov space for each further product (Rayleigh-Ritz; every product is kept).

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
    basis = orthonormal_basis(start, k)
    pushed, gradients = kernel.to_all_directions(basis)
    pushed = pushed.double()  # (N, r + q, m)
    for _ in range(_EXPANSIONS):
        fresh = Projection(basis, _inside(kernel, pushed)).beyond(k, tolerance)
        if fresh.shape[1] == 0:
            break
        basis = torch.cat([basis, fresh], dim=1)
        more, fresh_gradients = kernel.to_all_directions(fresh)
        pushed = torch.cat([pushed, more.double()], dim=2)
        together = zip(gradients, fresh_gradients, strict=False)  # nothing where either was too large to be kept
        gradients = tuple(map(torch.cat, together)) if basis.shape[1] <= kernel.width else ()
    pairs, coefficients = Projection(basis, _inside(kernel, pushed)).pairs(k, tolerance)
    probed = pushed[:, kernel.directions :] @ coefficients
    outside, error = outside_norms(probed, pairs.values, coordinates - kernel.directions)
    moves = tuple(torch.tensordot(coefficients.T.to(found), found, dims=1) for found in gradients)
    return ApproximateModes(pairs, outside, error, torch.zeros_like(outside), moves=moves)


def geometry_errors(vectors: Float[Tensor, "rows k"], left_out: Float[Tensor, " N"]) -> Float[Tensor, " k"]:
    """Part of the relative residual of unit vectors on the rows (window, direction) from the error of each window's S.

    With S + E in place of S the kernel is (I + D)^(1/2) K (I + D)^(1/2), D block-diagonal with the relative error of
    each window's S, and K v = lambda v becomes K (I + D)^(1/2) v = lambda (I + D)^(1/2) v + K D v + ..., so that
    ||D v|| bounds the residual of a leading mode; ||D_i v_i|| <= delta_i ||v_i|| for every window.
    """
    by_window = vectors.double().unflatten(0, (len(left_out), -1)).square().sum(1)  # (N, k)
    errors: Tensor = (left_out.square().to(by_window) @ by_window).sqrt().cpu()
    return errors


def _inside(kernel: CompressedKernel, pushed: Float[Tensor, "N s m"]) -> Float[Tensor, "rows m"]:
    return pushed[:, : kernel.directions].flatten(0, 1)


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
    views = tuple(_truncated_view(view) for view in kernel.views)
    small = CompressedKernel(views, kernel.directions, f"{kernel.name}, truncated")
    return block_lanczos(small, columns, _START_TOLERANCE, start=None, max_products=6 * columns, seed=0).vectors


def _truncated_view(view: ViewFactors) -> ViewFactors:
    """The factors on fewer axes; those of several uses are left alone, for they must stay in one set of axes."""
    if len(view.uses) > 1:
        return view
    return ViewFactors((_in_own_axes(truncated(view.uses[0], _START_AXES, _START_AXES)),))


def _in_own_axes(use: Factors) -> Factors:
    """The factors of a tensor (H, A, B) of its own."""
    heads, right = use.right.shape[3:]
    left = use.one_hot if use.one_hot is not None else use.left.shape[3]
    return replace(use, axes=Axes((0,), (1,), (2,)), value_sizes=(heads, left, right))
