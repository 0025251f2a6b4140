"""Tables of a run: columns of numbers and of text, stored among its arrays and words.

The table "alignment" with columns "feature" and "score" is words["table.alignment"] = ("feature", "score"),
words["table.alignment.feature"] and the array "table.alignment.score". Numbers are float64, NaN where a row has none;
whole numbers int64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tangentlens.errors import NotStoredError
from tangentlens.store.arrays import SeedRecord

Column = Sequence[str] | Sequence[float] | Sequence[int]


@dataclass(frozen=True)
class Table:
    """A table as a run holds it.

    Attributes:
        name: of the table.
        columns: name -> values, one for each row: strings, or an array of numbers.
    """

    name: str
    columns: Mapping[str, tuple[str, ...] | np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> list[dict[str, str | float | int]]:
        """A dict for each row."""
        values = {name: list(column) for name, column in self.columns.items()}
        return [{name: column[i] for name, column in values.items()} for i in range(len(self))]


def table_parts(name: str, columns: Mapping[str, Column]) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """The arrays and words of a table, to be stored.

    Args:
        name: of the table.
        columns: name -> values of one kind, equally many of each.
    """
    arrays: dict[str, Tensor] = {}
    words: dict[str, tuple[str, ...]] = {f"table.{name}": tuple(columns)}
    for column, values in columns.items():
        key = f"table.{name}.{column}"
        if all(isinstance(value, str) for value in values):
            words[key] = tuple(str(value) for value in values)
        else:
            whole = all(isinstance(value, int) for value in values)
            arrays[key] = torch.tensor(list(values), dtype=torch.int64 if whole else torch.float64)
    return arrays, words


def table_names(record: SeedRecord) -> tuple[str, ...]:
    """The tables that a seed holds: lists of names of which each is a column."""
    held = record.names | frozenset(record.words)
    return tuple(
        name.removeprefix("table.")
        for name, columns in record.words.items()
        if name[:6] == "table." and columns and all(f"{name}.{column}" in held for column in columns)
    )


def read_table(record: SeedRecord, name: str) -> Table:
    """A table of a seed.

    Raises:
        NotStoredError: there is no such table.
    """
    if f"table.{name}" not in record.words:
        raise NotStoredError(f"the table {name}")
    keys = {column: f"table.{name}.{column}" for column in record.words[f"table.{name}"]}
    columns = {column: record.words[key] if key in record.words else record.array(key) for column, key in keys.items()}
    return Table(name, columns)
