"""Parameter names to disjoint named groups; each group gets a kernel of its own."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from tangentlens.errors import InvalidInputError

ROOT = "(root)"  # the group of parameters that the model itself holds

# the names that torch.nn.utils.parametrize gives: <module>.parametrizations.weight.original0 to the parameters behind a
# tensor, <module>.parametrizations.weight.0.<name> to those of a parametrisation itself
_PARAMETRISED = re.compile(r"(?:(.*?)\.)?parametrizations\.[^.]+\.(?:original\d*|\d+\..+)")


@dataclass(frozen=True)
class Group:
    """A named set of parameters, by the first name that each has in the model."""

    name: str
    parameters: tuple[str, ...]


Groups = str | Mapping[str, Sequence[str]]


def resolve_groups(
    names: Mapping[str, tuple[str, ...]], groups: Groups, frozen: Collection[str] = ()
) -> tuple[Group, ...]:
    """The groups that a user's `groups=` argument describes.

    Args:
        names: every trainable parameter's first name -> all names it has (tied weights have several).
        groups: "all" (one group), "module" (one for each module that holds parameters; those behind a parametrised
            tensor belong to its module), "parameter" (one each), or group name -> glob patterns over parameter names.
        frozen: names of the other parameters, for messages.

    Raises:
        InvalidInputError: the word is unknown, a group is empty, a pattern matches nothing, or two groups share a
            parameter.
    """
    if isinstance(groups, Mapping):
        return _by_patterns(names, groups, frozen)
    if groups == "all":
        return (Group("all", tuple(names)),)
    if groups == "parameter":
        return tuple(Group(name, (name,)) for name in names)
    if groups == "module":
        members: dict[str, list[str]] = {}
        for name in names:
            members.setdefault(_module_of(name) or ROOT, []).append(name)
        return tuple(Group(module, tuple(held)) for module, held in members.items())
    raise InvalidInputError(
        f"groups={groups!r} is unknown",
        remedy="Use 'module', 'parameter', 'all', or a dict from group names to lists of glob patterns.",
    )


def _module_of(parameter: str) -> str:
    behind = _PARAMETRISED.fullmatch(parameter)
    return (behind[1] or "") if behind else parameter.rpartition(".")[0]


def _by_patterns(
    names: Mapping[str, tuple[str, ...]], groups: Mapping[str, Sequence[str]], frozen: Collection[str]
) -> tuple[Group, ...]:
    owner: dict[str, str] = {}
    for group, patterns in groups.items():
        for pattern in _patterns(group, patterns):
            matched = [name for name, aliases in names.items() if any(fnmatchcase(a, pattern) for a in aliases)]
            if not matched:
                raise InvalidInputError(
                    _no_match(pattern, frozen), where=f"groups[{group!r}]", remedy=_nearest(pattern, names)
                )
            for name in matched:
                if owner.setdefault(name, group) != group:
                    raise InvalidInputError(
                        f"the groups {owner[name]!r} and {group!r} share the parameter {_all_names(names[name])}",
                        where="groups",
                        remedy="Groups must be disjoint.",
                    )
    if not owner:
        raise InvalidInputError("no groups were given", where="groups")
    return tuple(Group(group, tuple(n for n in names if owner.get(n) == group)) for group in groups)


def _patterns(group: str, patterns: Sequence[str]) -> Sequence[str]:
    listed = [patterns] if isinstance(patterns, str) else list(patterns)
    if not listed or not all(isinstance(pattern, str) for pattern in listed):
        raise InvalidInputError(
            f"the group has the patterns {listed!r}",
            where=f"groups[{group!r}]",
            remedy="Give at least one glob pattern over parameter names, for example 'blocks.0.*'.",
        )
    return listed


def _no_match(pattern: str, frozen: Collection[str]) -> str:
    matched = [name for name in frozen if fnmatchcase(name, pattern)]
    if matched:
        return f"the pattern {pattern!r} matches frozen parameters alone: {', '.join(matched[:3])}"
    return f"the pattern {pattern!r} matches no trainable parameter"


def _all_names(aliases: tuple[str, ...]) -> str:
    """The first name, and the others where the weight is tied."""
    others = ", ".join(repr(name) for name in aliases[1:])
    return f"{aliases[0]!r} (tied, also {others})" if others else f"{aliases[0]!r}"


def _nearest(pattern: str, names: Mapping[str, tuple[str, ...]]) -> str:
    every = [alias for aliases in names.values() for alias in aliases]
    near = get_close_matches(pattern, every, n=3, cutoff=0.4) or every[:3]
    return (
        f"Near it: {', '.join(near)}. Frozen parameters (requires_grad=False) belong to no kernel."
        if near
        else ("The model has no trainable parameter: call requires_grad_(True) on those to analyse.")
    )
