"""Samples in proportion to strata, one of each group before a second of any."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from tangentlens.language.windows.text_labels import Value

MOST_CLASSES = 20  # numbers with more distinct values are cut into quarters
_QUARTERS = (0.25, 0.5, 0.75)


def strata(values: Sequence[Value]) -> tuple[Hashable, ...]:
    """The stratum of each value: its class, or the quarter of a number; a missing value is a stratum of its own."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    others = [v for v in values if v is not None and (isinstance(v, bool) or not isinstance(v, int | float))]
    if others or len(set(numbers)) <= MOST_CLASSES:
        return tuple(values)
    cuts = np.quantile(np.array(numbers, dtype=float), _QUARTERS)
    return tuple(None if v is None else int(np.searchsorted(cuts, float(v))) for v in values)  # type: ignore[arg-type]


def allocation(sizes: Sequence[int], count: int) -> list[int]:
    """How many to take of each stratum: in proportion, rounded by the largest remainders; all where `count` is more."""
    total = sum(sizes)
    if count >= total:
        return list(sizes)
    exact = [count * size / total for size in sizes]
    taken = [int(each) for each in exact]
    rest = sorted(range(len(sizes)), key=lambda place: (taken[place] - exact[place], place))
    for place in rest[: count - sum(taken)]:
        taken[place] += 1
    return taken


def sample(of: Sequence[Hashable], groups: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Places of a stratified sample, in ascending order.

    Args:
        of: the stratum of each item.
        groups: the text of each item; in a stratum every text gives one item before any gives a second.
        count: how many items.
        rng: decides which.
    """
    order = rng.permutation(len(of)).tolist()
    earlier: Counter[tuple[Hashable, int]] = Counter()
    turn = [0] * len(of)
    for place in order:
        key = (of[place], groups[place])
        turn[place] = earlier[key]
        earlier[key] += 1
    members: dict[Hashable, list[int]] = {}
    for place in sorted(order, key=turn.__getitem__):  # stable: random within a turn
        members.setdefault(of[place], []).append(place)
    names = sorted(members, key=repr)
    quotas = allocation([len(members[name]) for name in names], count)
    return sorted(place for name, quota in zip(names, quotas, strict=True) for place in members[name][:quota])
