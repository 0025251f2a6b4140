"""Factors of every parameter group, collected from those of the stages as a backward pass makes them."""

from collections.abc import Iterator, Mapping, Sequence

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.groups import Group
from tangentlens.language.sweep.backward import StageFactors
from tangentlens.language.sweep.compressed import ViewFactors
from tangentlens.language.sweep.planning import PlannedStage
from tangentlens.language.sweep.truncation import without_negligible_positions

_NEGLIGIBLE = 1e-10  # share of the factors' energy at the positions that are left out: rounding

# parameter -> the factors of its uses, for the parameters of one group
GroupFactors = Mapping[str, tuple[ViewFactors, ...]]


def complete(
    groups: Sequence[Group], planned: Sequence[PlannedStage], factors: Iterator[StageFactors]
) -> Iterator[tuple[Group, GroupFactors]]:
    """Yield each group with the factors of all its parameters, as soon as the last of them is made.

    No factors are kept here after they were yielded, and they are taken out of what `factors` gave: the caller frees a
    group before it asks for the next, or holds both in memory.
    """
    owner = {name: group for group in groups for name in group.parameters}
    missing = {group.name: 0 for group in groups}
    for stage in planned:
        for name in stage.names.values():
            missing[owner[name].name] += 1
    held: dict[str, dict[str, tuple[ViewFactors, ...]]] = {group.name: {} for group in groups}
    for found in factors:
        for name in list(found):
            group = owner[name]
            smaller = tuple(_trimmed(view) for view in found.pop(name))
            held[group.name][name] = _joined(name, held[group.name].get(name, ()), smaller)
            missing[group.name] -= 1
            del smaller
            if missing[group.name] == 0:
                yield group, held.pop(group.name)
        del found


def flat(views: GroupFactors) -> tuple[ViewFactors, ...]:
    """The factors of all parameters of a group, one after another."""
    return tuple(view for found in views.values() for view in found)


def _joined(name: str, first: tuple[ViewFactors, ...], second: tuple[ViewFactors, ...]) -> tuple[ViewFactors, ...]:
    """The uses of one parameter in two stages: their gradients add up."""
    if not first:
        return second
    if len(first) > 1 or len(second) > 1 or first[0].sizes != second[0].sizes:
        raise UnsupportedModelError("two blocks share this parameter and use parts of it in different ways", where=name)
    return (ViewFactors((*first[0].uses, *second[0].uses)),)


def _trimmed(view: ViewFactors) -> ViewFactors:
    return ViewFactors(tuple(without_negligible_positions(use, _NEGLIGIBLE)[0] for use in view.uses))
