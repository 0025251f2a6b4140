"""Checks of a run: the kernel against automatic differentiation, determinism, adjointness, the model left as found."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tangentlens.analysis.arguments.fingerprint import fingerprint
from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import KernelModes
from tangentlens.errors import TangentlensError
from tangentlens.kernels import entk
from tangentlens.kernels.tracing.plan import tolerance
from tangentlens.models.checks import agreement
from tangentlens.models.functional import functional_model
from tangentlens.models.inputs import take
from tangentlens.progress import Progress
from tangentlens.store.tables import table_parts

_EXAMPLES = 8


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what was checked, in words.
        value: an error, relative to the largest number that it concerns.
        limit: up to which it passes.
    """

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the limit."""
        return self.value <= self.limit


def checks(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """The table "checks": check, value, limit, passed (1 or 0)."""
    progress("checks", 0, 1)
    found, notes = [*_against_autograd(case, kernels), *_deterministic(case)], []
    try:
        found.append(adjointness(case))
    except TangentlensError as error:
        notes.append(f"adjointness not checked: {error}")
    found.append(Check("the model is left as found", float(fingerprint(case.model) != case.fingerprint), 0.0))
    progress("checks", 1, 1)
    notes += [
        f"check failed: {each.name}: {each.value:.1e} above {each.limit:.1e}" for each in found if not each.passed
    ]
    arrays, words = table_parts(
        "checks",
        {
            "check": [each.name for each in found],
            "value": [each.value for each in found],
            "limit": [each.limit for each in found],
            "passed": [int(each.passed) for each in found],
        },
    )
    return Findings(arrays=arrays, words=words, notes=tuple(notes))


def _against_autograd(case: Case, kernels: KernelModes) -> list[Check]:
    if kernels.check is None:
        return []
    return [Check("kernel entries against automatic differentiation", kernels.check, tolerance(_dtype(case)))]


def _dtype(case: Case) -> torch.dtype:
    return next(p.dtype for p in functional_model(case.model, case.subject.output).trainable.values())


def _deterministic(case: Case) -> list[Check]:
    """The model called again on all inputs, on a few of them alone, and their kernel computed twice."""
    view, limit = functional_model(case.model, case.subject.output), agreement(case.outputs.dtype)
    few = slice(0, min(_EXAMPLES, case.N))
    with torch.no_grad():
        again, alone = view({}, case.inputs), view({}, take(case.inputs, few))
    first, second = (_small_kernel(case) for _ in range(2))
    return [
        Check("outputs of a second call", relative(again, case.outputs), limit),
        Check("outputs of a few examples alone", relative(alone, case.outputs[few]), limit),
        Check("kernel of a few examples, computed twice", relative(second, first), limit),
    ]


def _small_kernel(case: Case) -> Tensor:
    subject = case.subject
    batch = take(case.inputs, slice(0, min(_EXAMPLES, case.N)))
    ntk = entk(case.model, batch, outputs=subject.outputs, groups="all", output=subject.output, check=False)
    return ntk.total.dense()


def adjointness(case: Case) -> Check:
    """|<u, J_1 J_2^T v> - <J_2 J_1^T u, v>| over ||u|| ||K v||, J v by forward and J^T u by reverse differentiation.

    The rows are a few examples and the columns a few others, so that the two sides are different products.
    """
    half = min(_EXAMPLES, case.N // 2)
    kernel = entk(
        case.model,
        take(case.inputs, slice(0, half)),
        inputs2=take(case.inputs, slice(half, 2 * half)),
        outputs=case.subject.outputs,
        groups="all",
        method="matrix_free",
        output=case.subject.output,
        check=False,
    ).total
    generator = case.generator("adjointness")
    u, v = (
        torch.randn(n, generator=generator, dtype=torch.float64).to(kernel.device, kernel.dtype) for n in kernel.shape
    )
    Kv, KTu = kernel @ v, kernel.T @ u
    scale = float(u.norm() * Kv.norm()) or 1.0
    return Check("adjointness of J and J^T", abs(float(u @ Kv - KTu @ v)) / scale, tolerance(kernel.dtype))


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest number."""
    return float((found - expected).abs().max()) / max(float(expected.abs().max()), 1e-30)
