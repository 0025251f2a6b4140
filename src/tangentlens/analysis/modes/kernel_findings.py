"""The modes of every group as findings: what a run stores of them, and how they are read back."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.cliffs import find_cliffs
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import GroupModes, KernelModes


def kernel_findings(kernels: KernelModes) -> Findings:
    """For each group G: kernel.G.values, .residuals (k,), .vectors (N, k), .trace, .converged, .unresolved (u, 2).

    And .gaps (g, 3), the spectral gaps by `find_cliffs`: the last mode before it, the drop in ln lambda, corrected p.
    """
    arrays: dict[str, Tensor] = {}
    for name, modes in kernels.groups.items():
        arrays |= {
            f"kernel.{name}.values": modes.values,
            f"kernel.{name}.residuals": modes.residuals,
            f"kernel.{name}.vectors": modes.vectors,
            f"kernel.{name}.trace": torch.tensor(modes.trace, dtype=torch.float64),
            f"kernel.{name}.converged": torch.tensor(modes.converged),
            f"kernel.{name}.unresolved": torch.tensor(modes.unresolved, dtype=torch.int64).reshape(-1, 2),
            f"kernel.{name}.gaps": _gaps(modes.values),
        }
    checked = {} if kernels.check is None else {"kernel.check": (kernels.check, "ratio")}
    words = {"kernel.groups": tuple(kernels.groups), "kernel.explained": tuple(kernels.explained.splitlines())}
    return Findings(checked, arrays, words=words)


def halves_findings(kernels: KernelModes) -> Findings:
    """For each group G whose kernel was formed: halves.G.0, halves.G.1 (N, _), which an interrupted run keeps."""
    return Findings(
        arrays={
            f"halves.{name}.{side}": vectors
            for name, modes in kernels.groups.items()
            for side, vectors in enumerate(modes.halves or ())
        }
    )


def _gaps(values: Float[Tensor, " k"]) -> Float[Tensor, "g 3"]:
    rows = [(each.last_mode, each.log_gap, each.p_value) for each in find_cliffs(values)]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)


def stored_modes(
    arrays: Mapping[str, Tensor], words: Mapping[str, tuple[str, ...]], check: float | None
) -> KernelModes:
    """The modes that `kernel_findings` and `halves_findings` stored."""
    groups = {name: _stored(name, arrays) for name in words["kernel.groups"]}
    return KernelModes(groups, check, "\n".join(words["kernel.explained"]))


def _stored(name: str, arrays: Mapping[str, Tensor]) -> GroupModes:
    def part(of: str) -> Tensor:
        return arrays[f"kernel.{name}.{of}"]

    runs = tuple((int(first), int(last)) for first, last in np.asarray(part("unresolved")))
    halves = tuple(arrays[key] for key in (f"halves.{name}.{side}" for side in (0, 1)) if key in arrays)
    return GroupModes(
        name, part("values"), part("vectors"), part("residuals"), int(part("converged")), float(part("trace")), runs,
        halves,
    )  # fmt: skip
