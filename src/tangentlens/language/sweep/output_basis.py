"""Output directions on which a sweep compresses the kernels, and probes of what lies outside them."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.language.sweep.full_kernel import FullKernel

_COLUMNS = 8  # of random numbers, whose gradients of all parameters are in memory together


def range_directions(kernel: FullKernel, directions: int, *, seed: int) -> Float[Tensor, "d r"]:
    """Orthonormal output directions that hold most of what many parameters' kernels give, from a few windows.

    A randomised range finder (Halko, Martinsson and Tropp 2011, algorithm 4.1) on sum_p w_p K_p, where the weights w_p
    make every parameter's part of the first products equally large: no layer is left out because its kernel is small.
    The directions are the leading left singular vectors of all columns found, as (d, N * columns) matrices.

    Args:
        kernel: of all parameters together, on a few windows.
        directions: r, at most d, and the number of random columns.
        seed: of these.
    """
    generator = torch.Generator().manual_seed(seed)
    V = torch.randn(kernel.shape[0], directions, generator=generator, dtype=torch.float64)
    weights: Mapping[str, float] = {}
    found = []
    for block in V.to(kernel.device, kernel.dtype).split(_COLUMNS, dim=1):
        gradients = kernel.pull(block)
        weights = weights or {name: 1 / max(float(u.double().square().sum()), 1e-300) for name, u in gradients.items()}
        pushed = kernel.push({name: weights[name] * u for name, u in gradients.items()})
        found.append(pushed.unflatten(0, (kernel.windows, -1)).double())
    by_direction = torch.cat(found, dim=2).transpose(0, 1).flatten(1)
    left: Tensor = torch.linalg.svd(by_direction, full_matrices=False)[0]
    return left[:, :directions].contiguous()


def leading_directions(outputs: Float[Tensor, "n d s"], directions: int) -> Float[Tensor, "d r"]:
    """The orthonormal directions that hold most of what some windows' outputs do, all windows alike.

    The sum over windows of |Q^T X|^2 / |X|^2 is greatest: one window of large outputs must not be served alone.
    """
    alike = outputs / outputs.norm(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(outputs.dtype).tiny)
    vectors: Tensor = torch.linalg.eigh(torch.einsum("nds,nes->de", alike, alike))[1]
    return vectors.flip(1)[:, :directions].contiguous()


def probe_directions(basis: Float[Tensor, "N d r"], drawn: Float[Tensor, "q N d"]) -> Float[Tensor, "q N d"]:
    """Random unit directions orthogonal to each window's basis, from standard normal ones drawn for every window.

    For any x of a window, (d - r) / q * sum_z (z . x)^2 estimates without bias the part of |x|^2 outside the basis;
    directions drawn for each window make the sum over windows an average of N q independent terms.
    """
    drawn = drawn.to(basis.device)
    inside = basis @ (basis.mT @ drawn.permute(1, 2, 0))  # (N, d, q)
    outside: Tensor = drawn - inside.permute(2, 0, 1)
    unit: Tensor = outside / outside.norm(dim=2, keepdim=True)
    return unit
