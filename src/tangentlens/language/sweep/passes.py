"""What a sweep, its pilot and a refinement share: planned stages and their inputs, cotangents, the factors by group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.kernels.groups import Group
from tangentlens.language.batches import Batch, some
from tangentlens.language.geometry import LogitGeometry, Roots
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.backward import PlannedStage, StageFrames, plan_stages
from tangentlens.language.sweep.compressed import FrameParts
from tangentlens.language.sweep.full_kernel import StagewiseKernel
from tangentlens.language.sweep.output_basis import probe_directions
from tangentlens.language.sweep.stages import Chain, cut
from tangentlens.language.sweep.truncation import without_negligible_positions
from tangentlens.language.sweep.workspace import InMemory, SweepWorkspace

_FORWARD_WINDOWS = 64  # run at once when the inputs of the stages are computed
_PLAN_WINDOWS = 7
_CHECK_WINDOWS = 2
_ROOT_WINDOWS = 16  # whose S^(1/2), d^2 numbers in float64, are there at once
_NEGLIGIBLE = 1e-10  # share of the factors' energy at the positions that are left out: rounding

# parameter -> the factors of its uses, for the parameters of one group
GroupFrames = Mapping[str, tuple[FrameParts, ...]]


def planned_chain(lm: LanguageModel, batch: Batch, groups: Sequence[Group]) -> tuple[Chain, list[PlannedStage]]:
    """The model cut into stages, and how those above the groups' lowest parameter use the groups' parameters.

    Raises:
        InvalidInputError: no parameter of a group is on the way to the final hidden state; names the group.
        UnsupportedModelError: the stages are not the model, or a parameter is used in a way that has no factors.
    """
    chain, sample = cut(lm, batch), _spread(batch, _PLAN_WINDOWS)
    chain.check(some(sample, slice(0, _CHECK_WINDOWS)))
    planned = plan_stages(chain, sample, _wanted(lm, groups))
    used = {name for stage in planned for name in stage.names.values()}
    idle = [group.name for group in groups if not used & set(group.parameters)]
    if idle:
        raise InvalidInputError(
            "no parameter of this group is on the way to the final hidden state",
            where=", ".join(idle),
            remedy="Leave it out: its kernel is zero, or, of a head that is not tied, one of the logits alone.",
        )
    return chain, planned


def stagewise_kernel(
    chain: Chain, planned: Sequence[PlannedStage], batch: Batch, units: LogitGeometry, group: Group
) -> StagewiseKernel:
    """The full kernel of a group on some windows, matrix-free."""
    lowest = max(i for i, stage in enumerate(planned) if set(stage.names.values()) & set(group.parameters))
    above = planned[: lowest + 1]
    inputs, hidden = stage_inputs(chain, above, batch, InMemory())
    return StagewiseKernel(above, inputs, units.factors(hidden), group.parameters, group.name)


def stage_inputs(
    chain: Chain, planned: Sequence[PlannedStage], batch: Batch, workspace: SweepWorkspace
) -> tuple[list[dict[str, Tensor]], Float[Tensor, "N d"]]:
    """The inputs of every planned stage for all windows, and the final hidden state at their last positions."""
    windows = len(batch["input_ids"])
    joined: list[dict[str, Tensor]] = [{} for _ in planned]
    finals: list[Tensor] = []
    for start in range(0, windows, _FORWARD_WINDOWS):
        rows = slice(start, start + _FORWARD_WINDOWS)
        every = chain.inputs(some(batch, rows))
        with torch.no_grad():
            finals.append(chain.stages[-1].module(**every[-1]))
        for stage, inputs in zip(planned, joined, strict=True):
            for name, piece in every[stage.index].items():
                if name not in inputs:
                    shape = (windows, *piece.shape[1:])
                    inputs[name] = workspace.room(f"inputs-{stage.index}-{name}", shape, piece)
                inputs[name][rows] = piece
    return joined, torch.cat(finals)


@dataclass(frozen=True)
class Aim:
    """What is pulled back from the final hidden states of all windows.

    Attributes:
        basis: (d, r), or (N, d, r) with one for each window.
        cotangents: (R, N, d), S^(1/2) times every direction of the basis and times each window's own probes, in the
            model's dtype.
        left_out: relative error of each window's S along its leading directions.
    """

    basis: Tensor
    cotangents: Float[Tensor, "R N d"]
    left_out: Float[Tensor, " N"]


def aim(units: LogitGeometry, hidden: Float[Tensor, "N d"], basis: Tensor | int, probes: int = 0, seed: int = 0) -> Aim:
    """Output directions of all windows and their cotangents.

    Args:
        basis: (d, r), (N, d, r), or r: so many leading eigenvectors of each window's own S.
        probes: random directions outside the basis, for each window.
    """
    drawn = torch.randn(probes, *hidden.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    pieces = []
    for start in range(0, len(hidden), _ROOT_WINDOWS):
        rows = slice(start, start + _ROOT_WINDOWS)
        roots = units.roots(hidden[rows], basis if isinstance(basis, int) else basis.shape[-1])
        own = _own(roots, basis, rows, len(hidden))
        directions = torch.cat([own.permute(2, 0, 1), probe_directions(own, drawn[:, rows])])  # (R, n, d)
        pulled = torch.einsum("rnd,nde->rne", directions, roots.factors).to(hidden.dtype)
        pieces.append((own, pulled, roots.left_out))
    owns, cotangents, left_out = zip(*pieces, strict=True)
    found = basis if isinstance(basis, Tensor) else torch.cat(owns)
    return Aim(found, torch.cat(cotangents, dim=1), torch.cat(left_out))


def _own(roots: Roots, basis: Tensor | int, rows: slice, windows: int) -> Float[Tensor, "n d r"]:
    """The directions of some windows."""
    if isinstance(basis, Tensor):
        own: Tensor = basis.expand(windows, -1, -1)[rows]
        return own
    if roots.own is None:
        raise InvalidInputError("the windows have no directions of their own in this geometry", where="directions")
    return roots.own


def complete(
    groups: Sequence[Group], planned: Sequence[PlannedStage], factors: Iterator[StageFrames]
) -> Iterator[tuple[Group, GroupFrames]]:
    """Each group with the factors of all its parameters, as soon as the last of them is there.

    Nothing here outlives its turn, for it is taken out of what `factors` gave: the caller lets a group go before it
    asks for the next, or holds both.
    """
    owner = {name: group for group in groups for name in group.parameters}
    missing = {group.name: 0 for group in groups}
    for stage in planned:
        for name in stage.names.values():
            missing[owner[name].name] += 1
    held: dict[str, dict[str, tuple[FrameParts, ...]]] = {group.name: {} for group in groups}
    for found in factors:
        for name in list(found):
            group = owner[name]
            smaller = tuple(_trimmed(frame) for frame in found.pop(name))
            held[group.name][name] = _joined(name, held[group.name].get(name, ()), smaller)
            missing[group.name] -= 1
            del smaller
            if missing[group.name] == 0:
                yield group, held.pop(group.name)
        del found


def flat(frames: GroupFrames) -> tuple[FrameParts, ...]:
    """The factors of all parameters of a group, one after another."""
    return tuple(frame for found in frames.values() for frame in found)


def _joined(name: str, first: tuple[FrameParts, ...], second: tuple[FrameParts, ...]) -> tuple[FrameParts, ...]:
    """The uses of one parameter in two stages: their gradients add up."""
    if not first:
        return second
    if len(first) > 1 or len(second) > 1 or first[0].sizes != second[0].sizes:
        raise UnsupportedModelError("two blocks share this parameter and use parts of it in different ways", where=name)
    return (FrameParts((*first[0].parts, *second[0].parts)),)


def _trimmed(frame: FrameParts) -> FrameParts:
    return FrameParts(tuple(without_negligible_positions(part, _NEGLIGIBLE)[0] for part in frame.parts))


def _wanted(lm: LanguageModel, groups: Sequence[Group]) -> dict[int, str]:
    parameters = dict(lm.model.named_parameters())
    return {id(parameters[name]): name for group in groups for name in group.parameters}


def _spread(batch: Batch, count: int) -> dict[str, Tensor]:
    """So many windows, evenly spread over the batch; all of them where there are fewer."""
    total = len(batch["input_ids"])
    rows = torch.linspace(0, total - 1, min(count, total)).round().long()
    return some(batch, rows)
