"""Parameter names to disjoint named groups; each group gets a kernel of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from tangentlens.errors import InvalidInputError

ROOT = "(root)"  # the group of parameters that the model itself holds


@dataclass(frozen=True)
class Group:
    """A named set of parameters, by the first name that each has in the model."""

    name: str
    parameters: tuple[str, ...]


Groups = str | Mapping[str, Sequence[str]]


def resolve_groups(names: Mapping[str, tuple[str, ...]], groups: Groups) -> tuple[Group, ...]:
    """The groups that a user's `groups=` argument describes.

    Args:
        names: every trainable parameter's first name -> all names it has (tied weights have several).
        groups: "all" (one group), "module" (one for each module that holds parameters), "parameter" (one each),
            or group name -> glob patterns over parameter names.

    Raises:
        InvalidInputError: the word is unknown, a pattern matches nothing, or two groups share a parameter.
    """
    if isinstance(groups, Mapping):
        return _by_patterns(names, groups)
    if groups == "all":
        return (Group("all", tuple(names)),)
    if groups == "parameter":
        return tuple(Group(name, (name,)) for name in names)
    if groups == "module":
        members: dict[str, list[str]] = {}
        for name in names:
            members.setdefault(name.rpartition(".")[0] or ROOT, []).append(name)
        return tuple(Group(module, tuple(held)) for module, held in members.items())
    raise InvalidInputError(
        f"groups={groups!r} is unknown",
        remedy="Use 'module', 'parameter', 'all', or a dict from group names to lists of glob patterns.",
    )


def _by_patterns(names: Mapping[str, tuple[str, ...]], groups: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    owner: dict[str, str] = {}
    for group, patterns in groups.items():
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matched = [name for name, aliases in names.items() if any(fnmatchcase(a, pattern) for a in aliases)]
            if not matched:
                raise InvalidInputError(
                    f"the pattern {pattern!r} matches no trainable parameter",
                    where=f"groups[{group!r}]",
                    remedy=_nearest(pattern, names),
                )
            for name in matched:
                if owner.setdefault(name, group) != group:
                    raise InvalidInputError(
                        f"the groups {owner[name]!r} and {group!r} share the parameter {name!r}",
                        where="groups",
                        remedy="Groups must be disjoint.",
                    )
    if not owner:
        raise InvalidInputError("no groups were given", where="groups")
    return tuple(Group(group, tuple(n for n in names if owner.get(n) == group)) for group in groups)


def _nearest(pattern: str, names: Mapping[str, tuple[str, ...]]) -> str:
    every = [alias for aliases in names.values() for alias in aliases]
    near = get_close_matches(pattern, every, n=3, cutoff=0.4) or every[:3]
    return (
        f"Near it: {', '.join(near)}. Frozen parameters (requires_grad=False) belong to no kernel."
        if near
        else ("The model has no trainable parameter: call requires_grad_(True) on those to analyse.")
    )
