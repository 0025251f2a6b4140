"""Dot-product test of reverse against forward mode: <J^T z, u> = <z, J u>."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tangentlens.language.doctor.record import Check, Verdict
from tangentlens.language.doctor.subject import Subject
from tangentlens.language.sweep.full_kernel import FullKernel
from tangentlens.language.sweep.stages import HIDDEN

# of inner products that go through every block: far above rounding, a few times 1e-6 through 18 blocks in float32
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4}

_LEAST = 1e-2  # of the largest gradient: a key's bias, which a softmax does not see, has rounding alone


def adjointness(subject: Subject) -> Check:
    """The dot-product test of the Jacobian in all parameters of the blocks, for random z and u.

    Every parameter's part of u is scaled by 1 / ||J^T z|| of that parameter, so that all parameters count alike and a
    wrong derivative in one is seen. The error is |<J^T z, u> - <z, J u>| relative to ||J u||, the standard deviation of
    <z, J u> for standard normal z.
    """
    blocks = [planned for planned in subject.planned if planned.index < len(subject.chain.stages) - 1]
    names = {full for planned in blocks for full in planned.names.values()}
    kernel = _kernel(subject, names)
    generator = torch.Generator().manual_seed(subject.seed)
    z = torch.randn(kernel.shape[0], 1, generator=generator, dtype=torch.float64).to(kernel.device, kernel.dtype)
    pulled = kernel.pull(z)
    moved = _directions(pulled, generator)
    error = _error(kernel, z, pulled, moved)
    limit = _TOLERANCE.get(kernel.dtype, 5e-2)
    if error <= limit:
        found = f"<J^T z, u> = <z, J u> to {error:.1e} over all {len(names)} parameters of the blocks"
        return Check("adjointness", Verdict.FINE, found, error)
    place = _first_block(subject, kernel, z, pulled, moved, limit)
    return Check(
        "adjointness",
        Verdict.FAILS,
        f"<J^T z, u> and <z, J u> differ by {error:.1e}, seen from the end first at {place}",
        error,
        "Look there for a torch.autograd.Function with a wrong backward or jvp, a gradient hook, or a detach.",
    )


def _kernel(subject: Subject, names: Iterable[str]) -> FullKernel:
    """The kernel of the bare hidden state in these parameters on the probe's windows."""
    d = subject.lm.d_model
    every = subject.chain.inputs(subject.probe)
    inputs = [every[planned.index] for planned in subject.planned]
    windows = len(inputs[0][HIDDEN])
    units = torch.eye(d, dtype=torch.float64, device=inputs[0][HIDDEN].device).expand(windows, -1, -1)
    return FullKernel(subject.planned, inputs, units, tuple(names), "all blocks")


def _directions(pulled: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Random directions, scaled by 1 / ||J^T z||, but for gradients so small beside others that they are rounding."""
    floor = _LEAST * max(float(gradient.norm()) for gradient in pulled.values())
    drawn = {n: torch.randn(g.shape, generator=generator, dtype=torch.float32).to(g) for n, g in pulled.items()}
    return {n: u / max(float(pulled[n].norm()), floor) if floor else u for n, u in drawn.items()}


def _error(kernel: FullKernel, z: Tensor, pulled: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> float:
    pushed = kernel.push(moved)
    backward = sum(float((pulled[name].double() * u.double()).sum()) for name, u in moved.items())
    forward = float((z.double() * pushed.double()).sum())
    scale = float(pushed.double().norm())
    return abs(backward - forward) / scale if scale else abs(backward)


def _first_block(
    subject: Subject,
    kernel: FullKernel,
    z: Tensor,
    pulled: Mapping[str, Tensor],
    moved: Mapping[str, Tensor],
    limit: float,
) -> str:
    """The last block whose own parameters fail the test: what is wrong lies in it or behind it."""
    for planned in subject.planned:
        mine = set(planned.names.values())
        alone = {name: u if name in mine else torch.zeros_like(u) for name, u in moved.items()}
        if mine & set(moved) and not _error(kernel, z, pulled, alone) <= limit:
            return subject.chain.stages[planned.index].name
    return "no single block"
