"""The leading modes of every parameter group's kernel, and of all groups together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tangentlens.eigen import top_eigenpairs
from tangentlens.kernels import EmpiricalNTK, entk
from tangentlens.models.inputs import Inputs
from tangentlens.models.outputs import PickOutput
from tangentlens.operators import DenseOperator, LinearOperator
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs

TOTAL = "total"


@dataclass(frozen=True)
class KernelOptions:
    """Which kernels, and how many modes of each.

    Attributes:
        modes: of each kernel at most.
        groups, outputs, output, memory_budget: as `entk` takes them.
    """

    modes: int
    groups: Any = "module"
    outputs: Any = "trace"
    output: PickOutput | None = None
    memory_budget: int | float | str | None = None


@dataclass(frozen=True)
class GroupModes:
    """The modes of one group's kernel: as many as asked for, up to the numerical rank.

    Attributes:
        group: its name.
        values: (k,) eigenvalues, descending.
        vectors: (N, k) orthonormal.
        residuals: (k,) ||K v - lambda v|| / lambda.
        converged: number of modes whose residual is within the tolerance.
        trace: of the kernel; NaN where it was not formed.
        unresolved: runs (first, last) of modes whose eigenvalues are closer than their errors: only the space that they
            span is known.
        halves: the modes of two disjoint halves of the inputs as functions of all of them (`extended_modes`); empty
            where the kernel was not formed, None where they were not asked for.
    """

    group: str
    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "N k"]
    residuals: Float[Tensor, " k"]
    converged: int
    trace: float
    unresolved: tuple[tuple[int, int], ...] = ()
    halves: tuple[Float[Tensor, "N _"], ...] | None = None

    @property
    def count(self) -> int:
        """Number of modes."""
        return len(self.values)


@dataclass(frozen=True)
class KernelModes:
    """The modes of all groups, "total" first.

    Attributes:
        groups: name -> modes.
        check: error of the kernels against automatic differentiation, measured by `entk`; None where not checked.
        explained: how each parameter's kernel was computed.
    """

    groups: Mapping[str, GroupModes]
    check: float | None
    explained: str


def kernel_modes(
    model: nn.Module,
    inputs: Inputs,
    options: KernelOptions,
    *,
    halves: tuple[Int[Tensor, " a"], Int[Tensor, " b"]] | None = None,
    check: bool = True,
    progress: Progress = silent,
) -> KernelModes:
    """The leading eigenpairs of every group's kernel and of their sum.

    With two disjoint halves of the inputs also those of each half: their kernels are blocks of the whole one, so that
    nothing is formed again, and no kernel outlives the call. A group whose kernel is zero is left out. Errors are those
    of `entk` and `top_eigenpairs`.
    """
    ntk = entk(
        model,
        inputs,
        outputs=options.outputs,
        groups=options.groups,
        output=options.output,
        memory_budget=options.memory_budget,
        check=check,
        progress=progress,
    )
    kernels = _kernels(ntk)
    found: dict[str, GroupModes] = {}
    for done, (name, kernel) in enumerate(kernels.items()):
        progress("eigenpairs", done, len(kernels))
        modes = _modes(name, kernel, options.modes)
        if modes.count:
            found[name] = modes if halves is None else replace(modes, halves=_of_halves(kernel, halves, modes.count))
    progress("eigenpairs", len(kernels), len(kernels))
    return KernelModes(found, ntk.check, ntk.explain())


def _kernels(ntk: EmpiricalNTK) -> dict[str, LinearOperator]:
    """The sum first; a single group is the sum."""
    return {TOTAL: ntk.total, **({name: ntk[name] for name in ntk.groups} if len(ntk) > 1 else {})}


def _modes(name: str, kernel: LinearOperator, k: int) -> GroupModes:
    pairs = top_eigenpairs(kernel, k=min(k, kernel.shape[0]))
    rank = pairs.rank
    trace = float(kernel.dense().diagonal().sum()) if isinstance(kernel, DenseOperator) else float("nan")
    return GroupModes(
        name,
        pairs.values[:rank].cpu(),
        pairs.vectors[:, :rank].cpu(),
        pairs.residuals[:rank].cpu(),
        int(pairs.converged[:rank].sum()),
        trace,
        unresolved(pairs),
    )


def _of_halves(kernel: LinearOperator, halves: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, ...]:
    if not isinstance(kernel, DenseOperator):
        return ()
    matrix = kernel.matrix.cpu().to(torch.float64)
    return tuple(extended_modes(matrix, rows, k) for rows in halves)


def extended_modes(kernel: Float[Tensor, "N N"], rows: Int[Tensor, " a"], k: int) -> Float[Tensor, "N r"]:
    """K(., rows) v / lambda: the leading modes of some rows as functions of all; at most k, within the rank."""
    pairs = top_eigenpairs(DenseOperator(kernel[rows][:, rows], name="half of the inputs"), k=min(k, len(rows)))
    rank = pairs.rank
    return kernel[:, rows] @ (pairs.vectors[:, :rank] / pairs.values[:rank])


def unresolved(pairs: Eigenpairs) -> tuple[tuple[int, int], ...]:
    """Runs of modes within the rank whose neighbours lie closer than the sum of their errors.

    The error of an eigenvalue is its residual norm, or the rounding of the operator where that is larger.
    """
    rank = pairs.rank
    values, errors = pairs.values[:rank], pairs.value_errors[:rank].clamp_min(pairs.eps * float(pairs.values[0]))
    close = ((values[:-1] - values[1:]) <= errors[:-1] + errors[1:]).tolist()
    runs: list[tuple[int, int]] = []
    for place, joined in enumerate(close):
        if joined and runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        elif joined:
            runs.append((place, place + 1))
    return tuple(runs)
