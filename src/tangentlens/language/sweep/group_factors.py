"""Factors of every parameter group, collected from those of the stages as a backward pass makes them."""

from collections.abc import Iterator, Mapping, Sequence

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.groups import Group
from tangentlens.language.sweep.backward import StageFrames
from tangentlens.language.sweep.compressed import FrameParts
from tangentlens.language.sweep.planning import PlannedStage
from tangentlens.language.sweep.truncation import without_negligible_positions

_NEGLIGIBLE = 1e-10  # share of the factors' energy at the positions that are left out: rounding

# parameter -> the factors of its uses, for the parameters of one group
GroupFrames = Mapping[str, tuple[FrameParts, ...]]


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
