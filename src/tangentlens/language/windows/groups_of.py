"""Items in groups of a given size."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of `size` items, the last one shorter where they do not come out even (itertools.batched, Python 3.12)."""
    remaining = iter(items)
    while batch := tuple(islice(remaining, size)):
        yield batch
