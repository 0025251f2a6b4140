"""Kernels of every parameter group of a language model from one sweep of batched backward passes.

The outputs that matter span few directions. A pilot on some windows finds r of them (in Fisher geometry every window
has its own); r backward passes of all windows then give the factors of every weight, hence the kernel of every group on
the rows (window, direction). Its eigenpairs, lifted by the basis, are Rayleigh-Ritz pairs of the full kernel, and
random probe directions outside the basis tell how far each is from an eigenpair of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen import top_eigenpairs
from tangentlens.eigen.rayleigh_ritz import rayleigh_ritz
from tangentlens.errors import InvalidInputError
from tangentlens.groups import Group
from tangentlens.kernels.allocation import freed_memory_kept
from tangentlens.kernels.backward_sweep import backward_sweep
from tangentlens.kernels.compressed import CompressedKernel
from tangentlens.kernels.geometry import LogitGeometry, logit_geometry
from tangentlens.kernels.language_groups import LanguageGroups, resolve_language_groups
from tangentlens.kernels.passes import (
    complete,
    cotangents_of,
    flat,
    planned_chain,
    stage_inputs,
    stagewise_kernel,
)
from tangentlens.kernels.pilot import WINDOWS, Pilot, pilot_directions
from tangentlens.kernels.sweep_workspace import InFolder, InMemory, SweepWorkspace, sweep_fingerprint
from tangentlens.kernels.swept_modes import SweptModes, swept_modes
from tangentlens.models.checks import check_modes
from tangentlens.models.language_model import Batch, LanguageModel, differentiable_attention, last_positions
from tangentlens.operators import LinearOperator
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs

# what to take of a kernel and its modes while the kernel is there
Reading = Callable[[CompressedKernel, SweptModes, Tensor], Mapping[str, Tensor]]


def nothing_more(kernel: CompressedKernel, modes: SweptModes, basis: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG001
    """The reading that takes nothing but the modes."""
    return {}


@dataclass(frozen=True)
class Sweep:
    """What one sweep gave.

    Attributes:
        operators: group -> kernel on the rows (window, direction), window-major; empty where modes were asked for.
        modes: group -> leading modes; empty where none were asked for.
        basis: (d, r) orthonormal output directions, in the coordinates of S^(1/2) K_r S^(1/2); (N, d, r) where every
            window has its own.
        geometry: of the logits.
        windows: N.
        members: group -> its parameters.
        seconds: that it took, those of earlier calls with the same folder included.
    """

    operators: Mapping[str, LinearOperator]
    modes: Mapping[str, SweptModes]
    basis: Float[Tensor, "d r"] | Float[Tensor, "N d r"]
    geometry: LogitGeometry
    windows: int
    members: Mapping[str, tuple[str, ...]]
    seconds: float

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.members)

    def __getitem__(self, group: str) -> LinearOperator:
        if group not in self.members:
            raise InvalidInputError(
                f"there is no group {group!r}", where="groups", remedy=f"The groups are {', '.join(self.groups)}."
            )
        if group not in self.operators:
            raise InvalidInputError(
                "the kernels were let go, only their modes were kept",
                where=group,
                remedy="Call sweep without modes=, or take sweep.modes[group].",
            )
        return self.operators[group]

    def swept(self, group: str) -> SweptModes:
        """The leading modes of a group.

        Raises:
            InvalidInputError: the sweep holds none of that group.
        """
        if group not in self.modes:
            raise InvalidInputError(
                "the sweep holds no modes of this group", where=group, remedy="Call sweep with modes= and this group."
            )
        return self.modes[group]

    def lift(self, vectors: Float[Tensor, "rows k"]) -> Float[Tensor, "N d k"]:
        """Vectors on the rows (window, direction) as vectors on (window, coordinate of S^(1/2) K_r S^(1/2))."""
        r = self.basis.shape[-1]
        if vectors.shape[0] != self.windows * r:
            raise InvalidInputError(
                f"vectors of {vectors.shape[0]} rows, where the sweep has {self.windows} x {r}", where="lift"
            )
        lifted: Tensor = self.basis @ vectors.to(self.basis).unflatten(0, (self.windows, r))
        return lifted


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
    read: Reading = nothing_more,
    work: Path | None = None,
    progress: Progress = silent,
) -> Sweep:
    """Kernels of all groups of a language model at the final hidden state of each window's last real position.

    Args:
        lm: from `language_model`.
        batch: input_ids (N, T) and, where windows are padded, attention_mask (N, T).
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
        seed: of the pilot and the probes.
        read: with modes=, called with the kernel and the modes of every group, and the basis, while the kernel is
            there; the tensors that it returns stay with the modes. Where it changes, so must the folder `work`.
        work: with modes=, a folder for what would not fit into memory and for what is finished, from which an
            interrupted call with the same arguments goes on.
        progress: told about every stage.

    Raises:
        InvalidInputError: the batch, the groups or the numbers cannot be used, or the folder holds another sweep.
        StoreError: the folder cannot be written or read.
        UnsupportedModelError: dropout is active, or a wanted parameter is used in a way that has no factors.
    """
    _check(batch, directions, probes, modes)
    check_modes(lm.model)
    chosen = resolve_language_groups(lm, groups)
    options = (chosen, geometry, directions, probes, modes, tolerance, pilot_windows, seed)
    workspace = InMemory() if work is None else _folder(work, lm, batch, options)
    units, windows = logit_geometry(lm, geometry), len(batch["input_ids"])
    names = {group.name: group.parameters for group in chosen}
    basis, finished = workspace.basis(), _kept(workspace, names)
    if basis is not None and len(finished) == len(names):
        return Sweep({}, finished, basis, units, windows, names, workspace.seconds)
    with differentiable_attention(lm.model):
        chain, planned = planned_chain(lm, batch, chosen)
        inputs, hidden = stage_inputs(chain, planned, batch, workspace)
        if basis is None:
            basis = _basis(Pilot(lm, planned, chosen, inputs, hidden, units, seed, progress), directions, pilot_windows)
            workspace.keep_basis(basis)
        cotangents = cotangents_of(units, hidden, basis, probes if basis.shape[-1] < lm.d_model else 0, seed)
        passing = backward_sweep(planned, inputs, cotangents, workspace, progress)
        kernels: dict[str, LinearOperator] = {}
        for group, frames in complete(chosen, planned, passing):
            kernel = CompressedKernel(flat(frames), basis.shape[-1], group.name)
            if modes is None:
                kernels[group.name] = kernel
            elif workspace.modes(group.name) is None:
                found = swept_modes(kernel, modes, tolerance, lm.d_model)
                workspace.keep_modes(group.name, replace(found, readings=read(kernel, found, basis), moves=()))
            del kernel, frames
    return Sweep(kernels, _kept(workspace, names), basis, units, windows, names, workspace.seconds)


def _kept(workspace: SweepWorkspace, groups: Iterable[str]) -> dict[str, SweptModes]:
    """The modes that were found before, of every group that has them."""
    return {name: found for name in groups if (found := workspace.modes(name)) is not None}


@dataclass(frozen=True)
class RefinedModes:
    """Modes of one group's full kernel, nothing compressed.

    Attributes:
        pairs: eigenpairs on the rows (window, coordinate of S^(1/2) K_r S^(1/2)), with true residuals.
        operator: the kernel, matrix-free.
    """

    pairs: Eigenpairs
    operator: LinearOperator


def refine(
    lm: LanguageModel,
    batch: Batch,
    group: str,
    swept: Sweep,
    *,
    steps: int | None = 2,
    tolerance: float = 1e-3,
    progress: Progress = silent,
) -> RefinedModes:
    """Modes of one group's full kernel, from those of a sweep of the same batch, with exact residuals.

    Args:
        swept: made with modes=.
        steps: how often the space of the modes grows by the residuals of those above the tolerance, at most k products
            each (a product is a backward and a forward pass through the stages above the group), after k for the modes
            themselves. None solves to the tolerance by block Lanczos from the modes of the sweep.
        tolerance: relative residual that counts as converged.

    Raises:
        InvalidInputError: the sweep has no modes of that group, or is of another number of windows.
    """
    start = swept.lift(swept.swept(group).pairs.vectors).flatten(0, 1)
    k = start.shape[1]
    members = Group(group, swept.members[group])
    with differentiable_attention(lm.model), freed_memory_kept():
        chain, planned = planned_chain(lm, batch, [members])
        kernel = stagewise_kernel(chain, planned, batch, swept.geometry, members)
        if steps is None:
            return RefinedModes(top_eigenpairs(kernel, k, tolerance, start=start, progress=progress), kernel)
        return RefinedModes(rayleigh_ritz(kernel, start, k, tolerance, steps=steps, progress=progress), kernel)


def _basis(pilot: Pilot, directions: int | Tensor, windows: int) -> Tensor:
    """The basis given, the whole space, each window's own directions, or what a pilot finds: (d, r) or (N, d, r)."""
    d = pilot.lm.d_model
    if isinstance(directions, Tensor):
        return _checked_basis(directions, d)
    if directions >= d:
        return torch.eye(d, dtype=torch.float64)
    own = pilot.units.own_directions(pilot.hidden, directions)
    return pilot_directions(pilot, directions, windows) if own is None else own


def _folder(work: Path, lm: LanguageModel, batch: Batch, options: tuple[Any, ...]) -> InFolder:
    """The workspace of these arguments in a folder."""
    chosen, geometry, directions, probes, modes, tolerance, pilot_windows, seed = options
    if modes is None:
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
    given = directions.double().sum(1).tolist() if isinstance(directions, Tensor) else directions
    named = {group.name: group.parameters for group in chosen}
    listed = [named, geometry, given, probes, modes, tolerance, pilot_windows, seed]
    return InFolder(work, sweep_fingerprint(lm.model, batch, {"options": listed}))


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


def _check(batch: Batch, directions: int | Tensor, probes: int, modes: int | None) -> None:
    last_positions(batch)
    for name, value, least in (("directions", directions, 1), ("probes", probes, 0), ("modes", modes, 1)):
        if isinstance(value, int) and value < least:
            raise InvalidInputError(f"{name} = {value}", remedy=f"Give at least {least}.")
