"""The modes of a sweep as the modes of groups, which every step of an analysis takes."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.modes.kernel_modes import TOTAL, GroupModes, KernelModes
from tangentlens.language.analysis.recorder import recorder
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.approximate_modes import ApproximateModes
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.language.sweep.result import Sweep
from tangentlens.language.sweep.sweep import run_sweep
from tangentlens.language.text_analysis.case import TextOptions
from tangentlens.language.windows.text_windows import TextWindows
from tangentlens.progress import Progress, silent

_RANK = 1e-10  # of the largest squared singular value


def swept(
    lm: LanguageModel, windows: TextWindows, options: TextOptions, work: Path, progress: Progress = silent
) -> Sweep:
    """The leading modes of every group on some windows; a folder keeps what is done."""
    sweep_options = SweepOptions(
        groups=options.groups,
        geometry=options.geometry,
        directions=min(options.directions, lm.d_model),
        modes=options.modes,
        tolerance=options.tolerance,
        pilot_windows=min(16, len(windows)),
        seed=options.seed,
        record=recorder(windows.input_ids.shape[1], options.examples),
    )
    return run_sweep(lm, windows.batch, sweep_options, work=work, progress=progress)


def kernel_modes(found: Sweep, k: int) -> KernelModes:
    """The scores of every mode as its vector, and the principal functions of all groups' scores as the total.

    A mode of a kernel over (window, output direction) gives every window a vector of outputs; its score is the
    projection of that vector on the mode's first output direction (`mode_scores`). With lambda and s the eigenvalues
    and scores of all groups, the total's functions are the leading eigenvectors of sum lambda s s^T, the part of the
    sum of all kernels that the scores hold. Their residual is not known.

    Args:
        found: a sweep with modes and their recorded scores.
        k: functions of the total.
    """
    groups = {name: _modes(name, each) for name, each in found.modes.items()}
    whole = (
        {TOTAL: principal_functions(groups, k), **groups} if len(groups) > 1 else {TOTAL: next(iter(groups.values()))}
    )
    explained = f"{len(groups)} groups of parameters swept in {found.geometry.name} geometry"
    return KernelModes(whole, found.check, explained)


def _modes(name: str, modes: ApproximateModes) -> GroupModes:
    scores = modes.statistics["scores"].to(torch.float64)
    values = modes.pairs.values.to("cpu", torch.float64)
    kept = (scores.norm(dim=0) > 0) & (values > 0)
    return GroupModes(
        name, values[kept], scores[:, kept], modes.residuals.cpu()[kept], int(modes.pairs.converged.sum()), math.nan
    )


def principal_functions(groups: Mapping[str, GroupModes], k: int) -> GroupModes:
    """The leading eigenvectors of sum lambda s s^T over the scores s of all groups, with their eigenvalues."""
    weighted = torch.cat([each.vectors * each.values.sqrt() for each in groups.values()], dim=1)
    U, sizes = _leading(weighted, k)
    return GroupModes(TOTAL, sizes.square(), U, torch.full_like(sizes, math.nan), 0, math.nan)


def _leading(columns: Float[Tensor, "N m"], k: int) -> tuple[Float[Tensor, "N r"], Float[Tensor, " r"]]:
    U, sizes, _ = torch.linalg.svd(columns, full_matrices=False)
    kept = min(k, int((sizes.square() > _RANK * sizes[0].square()).sum()))
    return U[:, :kept], sizes[:kept]
