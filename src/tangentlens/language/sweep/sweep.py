"""Kernels of every parameter group of a language model from one sweep of batched backward passes.

The outputs that matter span few directions. A pilot on some windows finds r of them (in Fisher geometry every window
has its own). r backward passes of all windows then give the factors of every weight, hence the kernel of every group on
the rows (window, direction). Its eigenpairs, lifted by the basis, are Rayleigh-Ritz pairs of the full kernel, and
random probe directions outside the basis estimate their residuals there.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.batches import Batch
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.approximate_modes import ApproximateModes, Recorder, record_nothing
from tangentlens.language.sweep.backward import backward_sweep
from tangentlens.language.sweep.check import sample_entries
from tangentlens.language.sweep.cotangents import Cotangents, cotangents
from tangentlens.language.sweep.group_factors import complete
from tangentlens.language.sweep.group_kernels import GroupKernels
from tangentlens.language.sweep.groups import LanguageGroups
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.language.sweep.pilot import WINDOWS, Pilot, pilot_directions
from tangentlens.language.sweep.planning import planned_chain, stage_inputs
from tangentlens.language.sweep.problem import SweepProblem, sweep_problem
from tangentlens.language.sweep.result import Sweep
from tangentlens.language.sweep.scalar_sweep import ScalarSweep, scalar_sweep
from tangentlens.language.sweep.workspace import Workspace
from tangentlens.models.neutral import plain_torch
from tangentlens.progress import Progress, silent

__all__ = ["Recorder", "ScalarSweep", "Sweep", "SweepOptions", "run_sweep", "sweep"]


@overload
def sweep(
    lm: LanguageModel,
    batch: Batch,
    *,
    groups: LanguageGroups = "weights",
    geometry: str = "centred",
    directions: int | Tensor = 64,
    probes: int = 2,
    modes: int | None = None,
    tolerance: float = 1e-2,
    pilot_windows: int = WINDOWS,
    seed: int = 0,
    check: bool = True,
    record: Recorder = record_nothing,
    work: Path | None = None,
    progress: Progress = silent,
    read: Recorder | None = None,
    outputs: None = None,
) -> Sweep: ...


@overload
def sweep(
    lm: LanguageModel,
    batch: Batch,
    *,
    outputs: str | Sequence[str],
    groups: LanguageGroups = "weights",
    modes: int | None = None,
    tolerance: float = 1e-2,
    seed: int = 0,
    check: bool = True,
    progress: Progress = silent,
) -> ScalarSweep: ...


def sweep(
    lm: LanguageModel,
    batch: Batch,
    *,
    groups: LanguageGroups = "weights",
    geometry: str = "centred",
    directions: int | Tensor = 64,
    probes: int = 2,
    modes: int | None = None,
    tolerance: float = 1e-2,
    pilot_windows: int = WINDOWS,
    seed: int = 0,
    check: bool = True,
    record: Recorder = record_nothing,
    work: Path | None = None,
    progress: Progress = silent,
    read: Recorder | None = None,
    outputs: str | Sequence[str] | None = None,
) -> Sweep | ScalarSweep:
    """Kernels of all groups of a language model at the final hidden state of each window's last real position.

    Args:
        lm: from `language_model`.
        batch: input_ids (N, T) and, where windows are padded, attention_mask (N, T); position_ids (N, T) where they
            are not to count the real tokens.
        groups: "weights" (every weight matrix of every block, each a group), "down_proj" (the last matrix
            of every MLP), a list of parameter names or patterns, or what `tl.entk` takes. Of an embedding that is tied
            to the head, only the uses on the way to the final hidden state count: the head's own is left out.
        geometry: "raw", "centred" or "fisher".
        directions: r, or an orthonormal basis (d, r). In Fisher geometry each window has its own, the leading
            eigenvectors of its S; else a pilot finds them for all windows. With d_model or more nothing is left out.
        probes: random directions outside the basis for each window, for the error of the compression.
        modes: a number of leading modes of every group, computed as the sweep passes, after which the kernels are
            freed: the memory of one block instead of all. Without it the kernels are kept.
        tolerance: relative residual of the modes on the compressed rows.
        pilot_windows: windows of the pilot that finds the directions: those of every group's leading modes there.
        seed: of the pilot, the probes and the sample that is checked.
        check: whether entries of the kernels at sampled windows are compared with plain autograd, one window at a time.
        record: with modes=, called with the kernel and the modes of every group, and the basis, while the kernel is
            in memory; the tensors that it returns are the modes' `statistics`. Another recorder needs another `work`.
        work: with modes=, a folder for scratch memory and finished groups, from which an interrupted call with the
            same arguments goes on.
        progress: receives every stage.
        read: deprecated name of `record`.
        outputs: names of scalars of the logits ("mean_logit", "log_sum_exp", "entropy", "largest_logit",
            "own_log_probability"), one number for each window, in place of the logits themselves: one backward pass
            each gives the N x N kernel of every group. They have no geometry, directions, probes or pilot.

    A model of half precision is swept in float32, on a copy of its parameters.

    Returns:
        a Sweep; with outputs=, a ScalarSweep.

    Raises:
        InvalidInputError: the batch, the groups or the numbers cannot be used, or the folder holds another sweep.
        NumericalError: a group's gradients vanish or are not finite, its kernel is not autograd's, or the parameters
            changed during the call; names them.
        StoreError: the folder cannot be written or read.
        UnsupportedModelError: dropout is active, the model is not causal, its head is not linear, it is no chain of
            blocks, or a wanted parameter is used in a way that has no factors.
    """
    if read is not None:
        warnings.warn("sweep(read=) is called record=", DeprecationWarning, stacklevel=2)
        record = read
    options = SweepOptions(
        groups, geometry, directions, probes, modes, tolerance, pilot_windows, seed, check=check, record=record
    )
    if outputs is not None:
        if work is not None or record is not record_nothing:
            raise InvalidInputError(
                "kernels of scalars are made in one pass, in memory, and not recorded",
                where="outputs",
                remedy="Leave out work= and record=.",
            )
        return scalar_sweep(lm, batch, outputs, options, progress)
    return run_sweep(lm, batch, options, work=work, progress=progress)


def run_sweep(
    lm: LanguageModel,
    batch: Batch,
    options: SweepOptions,
    *,
    work: Path | None = None,
    progress: Progress = silent,
) -> Sweep:
    """`sweep` with its options as one record."""
    with plain_torch():
        problem = sweep_problem(lm, batch, options)
        workspace = problem.workspace(work)
        known, finished = workspace.results.basis, _finished(problem, workspace)
        if known is not None and len(finished) == len(problem.groups):
            return _result(problem, workspace, *known)
        return _computed(problem, workspace, progress)


def _computed(problem: SweepProblem, workspace: Workspace, progress: Progress) -> Sweep:
    """The rest of a sweep, from where the workspace was left."""
    options, versions = problem.options, problem.versions()
    chain, planned = planned_chain(problem.working, problem.batch, problem.groups)
    inputs, hidden = stage_inputs(chain, planned, problem.batch, workspace.scratch)
    pilot = Pilot(planned, problem.groups, inputs, hidden, problem.geometry, options.seed, progress)
    aimed = _cotangents(pilot, options, workspace)
    sample = sample_entries(problem, aimed) if options.check else None
    passing = backward_sweep(planned, inputs, aimed.values, workspace, progress)
    made = GroupKernels(options, aimed, sample, workspace.results)
    for group, views in complete(problem.groups, planned, passing):
        made.take(group, views)
        del views
    made.check()
    problem.require_unchanged(versions)
    return _result(problem, workspace, aimed.basis, aimed.left_out, made)


def _cotangents(pilot: Pilot, options: SweepOptions, workspace: Workspace) -> Cotangents:
    """Of all windows, along the basis of an earlier call or a new one, which is kept."""
    known, d = workspace.results.basis, pilot.hidden.shape[1]
    basis = known[0] if known is not None else _basis(pilot, options)
    width = basis if isinstance(basis, int) else basis.shape[-1]
    found = cotangents(pilot.units, pilot.hidden, basis, options.probes if width < d else 0, options.seed)
    workspace.results.keep_basis(found.basis, found.left_out)
    return found


def _result(
    problem: SweepProblem, workspace: Workspace, basis: Tensor, left_out: Tensor, made: GroupKernels | None = None
) -> Sweep:
    modes = _finished(problem, workspace)
    errors = [*made.errors.values()] if made else []
    errors += [found.check for found in modes.values() if found.check is not None]
    return Sweep(
        operators=made.kernels if made else {},
        modes=modes,
        basis=basis,
        geometry=problem.geometry,
        windows=len(left_out),
        left_out=left_out,
        check=max(errors) if errors else None,
        members=problem.members,
        seconds=workspace.results.seconds,
        options=problem.options,
    )


def _finished(problem: SweepProblem, workspace: Workspace) -> dict[str, ApproximateModes]:
    """The modes of every group that has them."""
    found = {group.name: workspace.results.modes(group.name) for group in problem.groups}
    return {name: modes for name, modes in found.items() if modes is not None}


def _basis(pilot: Pilot, options: SweepOptions) -> Tensor | int:
    """The basis given, the whole space, what a pilot finds, or the number of each window's own directions."""
    d, directions = pilot.hidden.shape[1], options.directions
    if isinstance(directions, Tensor):
        return _checked_basis(directions, d)
    if directions >= d:
        return torch.eye(d, dtype=torch.float64)
    return directions if pilot.units.by_window else pilot_directions(pilot, directions, options.pilot_windows)


def _checked_basis(basis: Tensor, d: int) -> Float[Tensor, "d r"]:
    given = basis.detach().to("cpu", torch.float64)
    if given.ndim != 2 or given.shape[0] != d or not 1 <= given.shape[1] <= d:
        raise InvalidInputError(
            f"a basis of shape {tuple(given.shape)}",
            where="directions",
            remedy=f"Give {d} rows and at most {d} columns.",
        )
    if not torch.allclose(given.T @ given, torch.eye(given.shape[1], dtype=torch.float64), atol=1e-5):
        raise InvalidInputError("the columns are not orthonormal", where="directions", remedy="Take torch.linalg.qr.")
    return given
