"""The step that asks whether other inputs of the same kind would give the same modes.

The inputs are split at random into halves A and B, without a look at features. A mode v of the kernel of A with
eigenvalue lambda has the parameter direction J_A^T v / sqrt(lambda); as a function of all inputs it is
f = K(., A) v / lambda, which is v itself on A. So the spaces of the leading modes of A and of B are compared where both
are functions of the same N inputs. A small residual says that a mode was computed well, not that it is reproducible:
modes with near eigenvalues mix, and only the space that they span returns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.cliffs import find_cliffs
from tangentlens.alignment.overlap import orthonormal_basis
from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import GroupModes, KernelModes, kernel_modes
from tangentlens.progress import Progress
from tangentlens.statistics.subspace_nulls import random_overlap_mean
from tangentlens.store.tables import Column, table_parts

_COLUMNS = (
    "group", "mode", "residual", "cosine", "reproducibility", "space_first", "space_last", "space_overlap",
    "random_overlap", "leading_overlap", "leading_random",
)  # fmt: skip


@dataclass(frozen=True)
class Reproduced:
    """The modes of one group found in two halves of the inputs; all vectors of length k.

    Attributes:
        group: its name.
        cosines: of mode m of one half, the largest cosine with a single mode of the other, averaged over both ways.
        reproducibility: its cosine with the span of all k modes of the other half.
        leading: percent that the spans of the first m + 1 modes share.
        spaces: the block (first, last) between spectral gaps in which mode m lies.
        blocks: percent that the spans of that block share.
    """

    group: str
    cosines: Float[Tensor, " k"]
    reproducibility: Float[Tensor, " k"]
    leading: Float[Tensor, " k"]
    spaces: tuple[tuple[int, int], ...]
    blocks: Float[Tensor, " k"]

    @property
    def count(self) -> int:
        """Number of modes that both halves have."""
        return len(self.cosines)


def stability(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """How far the modes of two disjoint halves of the inputs agree, for every group whose kernel is formed.

    The table "stability" has a row for each group and mode: group, mode, residual (of the mode of all inputs), cosine
    (with the nearest single mode of the other half), reproducibility (cosine with the span of the other half's modes),
    space_first and space_last (the block between spectral gaps that it lies in), space_overlap (percent that the two
    halves' blocks share) beside random_overlap (of random subspaces of that size), leading_overlap (percent that the
    spans of all modes up to this one share) beside leading_random. The kernels are formed again only where nobody
    asked for the modes of the halves with them.
    """
    formed = kernels
    if all(modes.halves is None for modes in kernels.groups.values()):
        formed = kernel_modes(
            case.model, case.inputs, case.kernel, halves=random_halves(case), check=False, progress=progress
        )
    sides = {name: modes.halves for name, modes in formed.groups.items() if modes.halves}
    progress("stability", 0, len(sides))
    found = []
    for done, (name, halves) in enumerate(sides.items(), start=1):
        found.append(reproduced(name, halves[0], halves[1], blocks_between_gaps(kernels.groups[name])))
        progress("stability", done, len(sides))
    arrays, words = table_parts("stability", _columns(found, kernels.groups, case.N))
    missing = [name for name in kernels.groups if name not in sides]
    notes = (f"stability of {', '.join(missing)}: not done, needs a formed kernel of the inputs",) if missing else ()
    return Findings(arrays=arrays, words=words, notes=notes)


def random_halves(case: Case) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Two disjoint halves of the inputs, each in ascending order."""
    order = torch.randperm(case.N, generator=case.generator("halves of the inputs"))
    return order[: case.N // 2].sort().values, order[case.N // 2 :].sort().values


def blocks_between_gaps(modes: GroupModes) -> tuple[tuple[int, int], ...]:
    """The block (first, last) of each mode: spectral gaps by `find_cliffs` end the blocks."""
    ends = [cliff.last_mode for cliff in find_cliffs(modes.values) if cliff.last_mode < modes.count - 1]
    firsts, lasts = [0, *(end + 1 for end in ends)], [*ends, modes.count - 1]
    return tuple(block for block in zip(firsts, lasts, strict=True) for _ in range(block[0], block[1] + 1))


def reproduced(
    group: str, first: Float[Tensor, "N a"], second: Float[Tensor, "N b"], spaces: Sequence[tuple[int, int]]
) -> Reproduced:
    """The modes of two halves of the inputs, compared as functions of all."""
    sides = (first, second)
    count = min(side.shape[1] for side in sides)
    A, B = (side[:, :count] for side in sides)
    units = [torch.nn.functional.normalize(side, dim=0) for side in (A, B)]
    single = (units[0].T @ units[1]).abs()
    cosines = (single.amax(dim=1) + single.amax(dim=0)) / 2
    inside = [
        torch.linalg.vector_norm(orthonormal_basis(other).T @ unit, dim=0)
        for unit, other in zip(units, (B, A), strict=True)
    ]
    # The first d columns of Q span the first d modes.
    squares = (torch.linalg.qr(units[0]).Q.T @ torch.linalg.qr(units[1]).Q).square()
    sizes = torch.arange(1, count + 1)
    leading = 100 * squares.cumsum(dim=0).cumsum(dim=1).diagonal() / sizes
    blocks = {block: shared_percent(A[:, block[0] : block[1] + 1], B[:, block[0] : block[1] + 1])
              for block in set(spaces) if block[0] < count}  # fmt: skip
    kept = tuple(spaces[:count])
    return Reproduced(
        group, cosines, (inside[0] + inside[1]) / 2, leading, kept,
        torch.tensor([blocks[block] for block in kept], dtype=torch.float64),
    )  # fmt: skip


def shared_percent(A: Float[Tensor, "N d"], B: Float[Tensor, "N d"]) -> float:
    """100 ||Q_A^T Q_B||^2 / d, the mean squared cosine of the principal angles of two spans."""
    QA, QB = orthonormal_basis(A), orthonormal_basis(B)
    return 100 * float((QA.T @ QB).square().sum()) / min(QA.shape[1], QB.shape[1])


def _columns(found: Sequence[Reproduced], groups: Mapping[str, GroupModes], N: int) -> dict[str, Column]:
    rows = [_row(each, mode, groups[each.group], N) for each in found for mode in range(each.count)]
    return {name: [row[place] for row in rows] for place, name in enumerate(_COLUMNS)}


def _row(found: Reproduced, mode: int, modes: GroupModes, N: int) -> tuple[Any, ...]:
    first, last = found.spaces[mode]
    return (
        found.group, mode, float(modes.residuals[mode]), float(found.cosines[mode]),
        float(found.reproducibility[mode]), first, last, float(found.blocks[mode]), _random(last - first + 1, N),
        float(found.leading[mode]), _random(mode + 1, N),
    )  # fmt: skip


def _random(d: int, N: int) -> float:
    """Mean percent that random subspaces of d dimensions share."""
    return 100 * random_overlap_mean(min(d, N), min(d, N), N) / min(d, N)
