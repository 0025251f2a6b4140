"""The few output directions on which a sweep compresses the kernels, and the probes that tell what they miss."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.stagewise import StagewiseKernel


def leading_directions(
    kernel: StagewiseKernel, directions: int, *, columns: int, rounds: int, seed: int
) -> Float[Tensor, "d r"]:
    """Orthonormal output directions in which the leading modes of many parameters' kernels point, from a few windows.

    A randomised range finder (Halko, Martinsson and Tropp 2011, algorithm 4.4) on sum_p w_p K_p, where the weights w_p
    make every parameter's part of the first product equally large: no layer is left out because its kernel is small.
    The directions are the leading left singular vectors of all columns found, as (d, N * columns) matrices.

    Args:
        kernel: of all parameters together, on a few windows.
        directions: r, at most d.
        columns: random start columns.
        rounds: products with the kernel; every one after the first sharpens the spectrum.
        seed: of the start.
    """
    generator = torch.Generator().manual_seed(seed)
    V = torch.randn(kernel.shape[0], columns, generator=generator, dtype=torch.float64).to(kernel.device, kernel.dtype)
    weights: Mapping[str, float] = {}
    for _ in range(rounds):
        V = torch.linalg.qr(V)[0]
        gradients = kernel.pull(V)
        weights = weights or {name: 1 / max(float(u.double().square().sum()), 1e-300) for name, u in gradients.items()}
        V = kernel.push({name: weights[name] * u for name, u in gradients.items()})
    by_direction = V.view(kernel.windows, kernel.coordinates, columns).transpose(0, 1).flatten(1).double()
    left: Tensor = torch.linalg.svd(by_direction, full_matrices=False)[0]
    return left[:, :directions].contiguous()


def probe_directions(basis: Float[Tensor, "d r"], windows: int, probes: int, *, seed: int) -> Float[Tensor, "q N d"]:
    """Random unit directions orthogonal to the basis, drawn afresh for every window.

    For any x of a window, (d - r) / q * sum_z (z . x)^2 estimates without bias the part of |x|^2 outside the basis;
    directions drawn for each window make the sum over windows an average of N q independent terms.
    """
    d, _ = basis.shape
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(probes, windows, d, generator=generator, dtype=torch.float64).to(basis.device)
    outside: Tensor = drawn - drawn @ basis @ basis.T
    unit: Tensor = outside / outside.norm(dim=2, keepdim=True)
    return unit
