"""Kernels of every parameter group of a language model from one sweep of batched backward passes.

The outputs that matter span few directions. A pilot on some windows finds r of them (in Fisher geometry every window
has its own); r backward passes of all windows then give the factors of every weight, hence the kernel of every group on
the rows (window, direction). Its eigenpairs, lifted by the basis, are Rayleigh-Ritz pairs of the full kernel, and
random probe directions outside the basis tell how far each is from an eigenpair of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.kernels.groups import Group
from tangentlens.language.batches import Batch
from tangentlens.language.geometry import LogitGeometry
from tangentlens.language.model import LanguageModel
from tangentlens.language.soundness import prepared
from tangentlens.language.sweep.approximate_modes import SweptModes, geometry_errors, swept_modes
from tangentlens.language.sweep.backward import backward_sweep
from tangentlens.language.sweep.check import Sample, sample_entries
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.fisher import logit_geometry
from tangentlens.language.sweep.groups import LanguageGroups, resolve_language_groups
from tangentlens.language.sweep.passes import GroupFrames, aim, complete, flat, planned_chain, stage_inputs
from tangentlens.language.sweep.pilot import WINDOWS, Pilot, pilot_directions
from tangentlens.language.sweep.record import Sweep
from tangentlens.language.sweep.workspace import InFolder, InMemory, SweepWorkspace, sweep_fingerprint
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import LinearOperator
from tangentlens.progress import Progress, silent

__all__ = ["Reading", "Sweep", "nothing_more", "sweep"]

# what to take of a kernel and its modes while the kernel is there
Reading = Callable[[CompressedKernel, SweptModes, Tensor], Mapping[str, Tensor]]


def nothing_more(kernel: CompressedKernel, modes: SweptModes, basis: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG001
    """The reading that takes nothing but the modes."""
    return {}


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
    read: Reading = nothing_more,
    work: Path | None = None,
    progress: Progress = silent,
) -> Sweep:
    """Kernels of all groups of a language model at the final hidden state of each window's last real position.

    Args:
        lm: from `language_model`.
        batch: input_ids (N, T) and, where windows are padded, attention_mask (N, T); position_ids (N, T) where they
            are not to count the real tokens.
        groups: "weights" (every weight matrix of every block, each a group), "down_proj" (the paper's: the last matrix
            of every MLP), a list of parameter names or patterns, or what `tl.entk` takes. Of an embedding that is tied
            to the head, only the uses on the way to the final hidden state count: the head's own is left out.
        geometry: "raw", "centred" or "fisher".
        directions: r, or an orthonormal basis (d, r). In Fisher geometry each window has its own, the leading
            eigenvectors of its S; else a pilot finds them for all windows. With d_model or more nothing is left out.
        probes: random directions outside the basis for each window, for the error of the compression.
        modes: with a number, so many leading modes of every group are computed as the sweep passes, and the kernels
            are let go: the memory of one block instead of all. Without, the kernels are kept.
        tolerance: relative residual of the modes on the compressed rows.
        pilot_windows: windows of the pilot that finds the directions: those of every group's leading modes there.
        seed: of the pilot, the probes and the sample that is checked.
        check: whether entries of the kernels at sampled windows are compared with plain autograd, one window at a time.
        read: with modes=, called with the kernel and the modes of every group, and the basis, while the kernel is
            there; the tensors that it returns stay with the modes. Where it changes, so must the folder `work`.
        work: with modes=, a folder for what would not fit into memory and for what is finished, from which an
            interrupted call with the same arguments goes on.
        progress: told about every stage.

    A model of half precision is swept in float32, on a copy of its parameters.

    Raises:
        InvalidInputError: the batch, the groups or the numbers cannot be used, or the folder holds another sweep.
        NumericalError: a group's gradients vanish or are not finite, its kernel is not autograd's, or the parameters
            changed during the call; names them.
        StoreError: the folder cannot be written or read.
        UnsupportedModelError: dropout is active, the model is not causal, its head is not linear, it is no chain of
            blocks, or a wanted parameter is used in a way that has no factors.
    """
    options = _Options(geometry, directions, probes, modes, tolerance, pilot_windows, seed, check)
    options.check_numbers()
    with plain_torch():
        working, batch = prepared(lm, batch)
        chosen = resolve_language_groups(working, groups)
        workspace = InMemory() if work is None else _folder(work, lm, batch, chosen, options)
        units = logit_geometry(working.head, geometry)
        kept, finished = workspace.basis(), _kept(workspace, chosen)
        if kept is not None and len(finished) == len(chosen):
            return _record({}, workspace, kept, chosen, units)
        versions = _versions(lm)
        chain, planned = planned_chain(working, batch, chosen)
        inputs, hidden = stage_inputs(chain, planned, batch, workspace)
        pilot = Pilot(planned, chosen, inputs, hidden, units, seed, progress)
        basis = kept[0] if kept is not None else _basis(pilot, options)
        width = basis if isinstance(basis, int) else basis.shape[-1]
        aimed = aim(units, hidden, basis, probes if width < working.d_model else 0, seed)
        workspace.keep_basis(aimed.basis, aimed.left_out)
        sample = sample_entries((lm, working), batch, units, aimed, chosen, seed) if check else None
        passing = backward_sweep(planned, inputs, aimed.cotangents, workspace, progress)
        made = _Kernels(options, aimed.basis, aimed.left_out, sample, read, workspace)
        for group, frames in complete(chosen, planned, passing):
            made.take(group, frames)
            del frames
        made.check()
        if _versions(lm) != versions:
            raise NumericalError(
                "parameters changed during the call", where=type(lm.model).__name__, remedy="Train on another copy."
            )
        return _record(made.kernels, workspace, (aimed.basis, aimed.left_out), chosen, units, made.errors)


@dataclass(frozen=True)
class _Options:
    """What a sweep was asked for."""

    geometry: str
    directions: int | Tensor
    probes: int
    modes: int | None
    tolerance: float
    pilot_windows: int
    seed: int
    check: bool

    def check_numbers(self) -> None:
        """Refuse numbers that are too small."""
        for name, least in (("directions", 1), ("probes", 0), ("modes", 1), ("pilot_windows", 1)):
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise InvalidInputError(f"{name} = {value}", remedy=f"Give at least {least}.")

    def listed(self) -> list[object]:
        """All that a sweep's result depends on."""
        given = self.directions.double().sum(1).tolist() if isinstance(self.directions, Tensor) else self.directions
        return [self.geometry, given, self.probes, self.modes, self.tolerance, self.pilot_windows, self.seed]


class _Kernels:
    """The kernels of the groups as a sweep passes: kept, or solved for their modes and let go."""

    def __init__(
        self,
        options: _Options,
        basis: Tensor,
        left_out: Float[Tensor, " N"],
        sample: Sample | None,
        read: Reading,
        workspace: SweepWorkspace,
    ) -> None:
        self._options, self._basis, self._left_out = options, basis, left_out
        self._sample, self._read, self._workspace = sample, read, workspace
        self.kernels: dict[str, LinearOperator] = {}
        self.errors: dict[str, float] = {}

    def take(self, group: Group, frames: GroupFrames) -> None:
        """Check a group's kernel, and keep it or its modes."""
        if self._workspace.modes(group.name) is not None:
            return
        kernel = CompressedKernel(flat(frames), self._basis.shape[-1], group.name)
        if self._sample is not None and group.name in self._sample.expected:
            self.errors[group.name] = self._sample.error(kernel)
            if not self.errors[group.name] <= self._sample.limit:
                return  # named when all groups have been looked at
        if self._options.modes is None:
            self.kernels[group.name] = kernel
        else:
            self._workspace.keep_modes(group.name, self._modes(kernel, self._options.modes))

    def _modes(self, kernel: CompressedKernel, count: int) -> SweptModes:
        found = swept_modes(kernel, count, self._options.tolerance, self._basis.shape[-2])
        rounding = self._sample is not None and self._sample.vanishes(kernel.name)
        if rounding or not float(found.pairs.values[0]) > 0:
            raise NumericalError(
                "the gradients of this group vanish at every window, or are not finite",
                where=kernel.name,
                remedy="Leave it out of the groups.",
            )
        found = replace(
            found,
            left_out=geometry_errors(found.pairs.vectors, self._left_out),
            check=self.errors.get(kernel.name),
        )
        return replace(found, readings=self._read(kernel, found, self._basis), moves=())

    def check(self) -> None:
        """Name the groups whose kernels are not those of plain autograd.

        Raises:
            NumericalError: there are such groups.
        """
        if self._sample is not None:
            self._sample.check(self.errors)


def _record(
    kernels: Mapping[str, LinearOperator],
    workspace: SweepWorkspace,
    aimed: tuple[Tensor, Tensor],
    chosen: tuple[Group, ...],
    units: LogitGeometry,
    errors: Mapping[str, float] | None = None,
) -> Sweep:
    modes = _kept(workspace, chosen)
    known = [*(errors or {}).values(), *(found.check for found in modes.values() if found.check is not None)]
    basis, left_out = aimed
    members = {group.name: group.parameters for group in chosen}
    check = max(known) if known else None
    return Sweep(kernels, modes, basis, units, len(left_out), left_out, check, members, workspace.seconds)


def _kept(workspace: SweepWorkspace, groups: tuple[Group, ...]) -> dict[str, SweptModes]:
    """The modes that were found before, of every group that has them."""
    return {group.name: found for group in groups if (found := workspace.modes(group.name)) is not None}


def _versions(lm: LanguageModel) -> dict[str, int]:
    """How often every parameter was changed in place."""
    return {name: p._version for name, p in lm.model.named_parameters() if not p.is_inference()}


def _basis(pilot: Pilot, options: _Options) -> Tensor | int:
    """The basis given, the whole space, what a pilot finds, or how many of its own directions each window has."""
    d, directions = pilot.hidden.shape[1], options.directions
    if isinstance(directions, Tensor):
        return _checked_basis(directions, d)
    if directions >= d:
        return torch.eye(d, dtype=torch.float64)
    return directions if pilot.units.by_window else pilot_directions(pilot, directions, options.pilot_windows)


def _folder(work: Path, lm: LanguageModel, batch: Batch, chosen: tuple[Group, ...], options: _Options) -> InFolder:
    """The workspace of these arguments in a folder."""
    if options.modes is None:
        raise InvalidInputError(
            "kernels cannot be kept in a folder", where="work", remedy="Ask for modes=, or leave out work=."
        )
    blocks = {name: place for place, (name, _) in enumerate(lm.blocks)}
    for group in chosen:
        places = {next((i for b, i in blocks.items() if name.startswith(f"{b}.")), -1) for name in group.parameters}
        if len(places) > 1:
            raise InvalidInputError(
                "a group over several blocks is not finished block by block",
                where=group.name,
                remedy="Leave out work=, or take groups inside one block.",
            )
    named = {group.name: group.parameters for group in chosen}
    return InFolder(work, sweep_fingerprint(lm.model, batch, {"options": [named, *options.listed()]}))


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
