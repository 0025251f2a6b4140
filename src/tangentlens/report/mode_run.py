"""What the run of any model stores of its modes and of the inputs that they are shown by."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tangentlens.report.visible_text import visible, visible_token
from tangentlens.store import SeedRecord, StoredRun
from tangentlens.store.tables import read_table, table_names

_Row = dict[str, str | float | int]


@dataclass(frozen=True)
class StoredInputs:
    """The inputs that a run shows.

    Attributes:
        kind: "image", "text", "table" or "series"; "" where they have their number alone.
        places: number of an input in the run -> its place among those stored.
        pictures: PNG of each.
        texts: of each.
        columns: names of the columns of rows.
        numbers: (n, w) rows or (n, T, c) series.
    """

    kind: str
    places: dict[int, int]
    pictures: tuple[bytes, ...] = ()
    texts: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    numbers: np.ndarray | None = None


@dataclass(frozen=True)
class ModeRun:
    """One seed of an analysis.

    Attributes:
        record: the seed.
        groups: names as stored.
        modes: the rows of its table of modes, in the order of the groups.
        inputs: what is shown of them.
        label: what the classes of the inputs are of; "" without.
        classes: class of every input; none without.
    """

    record: SeedRecord
    groups: tuple[str, ...]
    modes: tuple[_Row, ...]
    inputs: StoredInputs
    label: str
    classes: tuple[str, ...]

    def of(self, group: str, name: str) -> np.ndarray | None:
        """An array of one group's modes, None where it is not stored."""
        full = f"modes.{group}.{name}"
        return self.record.array(full) if full in self.record.names else None

    def rows(self, table: str, group: str, mode: int) -> list[_Row]:
        """The rows of a table that are about one mode."""
        if table not in table_names(self.record):
            return []
        return [row for row in read_table(self.record, table).rows() if row["group"] == group and row["mode"] == mode]

    def row(self, group: str, mode: int) -> _Row | None:
        """A mode's row in the table of modes."""
        return next((row for row in self.modes if row["group"] == group and row["mode"] == mode), None)


def holds_modes(run: StoredRun) -> bool:
    """Whether the run describes the modes of a model of any kind."""
    return bool(run.seeds) and "modes" in table_names(run.seeds[0])


def mode_run(record: SeedRecord) -> ModeRun:
    """A seed of an analysis, read.

    Raises:
        NotStoredError: it lacks its modes.
    """
    rows = tuple(read_table(record, "modes").rows())
    groups = tuple(dict.fromkeys(str(row["group"]) for row in rows))
    label = record.words.get("inputs.label", ("",))
    return ModeRun(record, groups, rows, _inputs(record), label[0], tuple(record.words.get("inputs.classes", ())))


def links_of(groups: Sequence[str]) -> tuple[str, ...]:
    """A link for each group, "card-<name>", of letters that an address may hold; numbered where two would be equal."""
    links: list[str] = []
    for group in groups:
        plain = "card-" + (re.sub(r"[^A-Za-z0-9_.-]+", "-", group).strip("-") or "group")
        links.append(plain if plain not in links else f"{plain}-{len(links)}")
    return tuple(links)


def picture_address(png: bytes) -> str:
    """A picture as a data: address."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _inputs(record: SeedRecord) -> StoredInputs:
    if "shown.kind" not in record.words:
        return StoredInputs("", {})
    kind = record.words["shown.kind"][0]
    places = {int(row): place for place, row in enumerate(record.array("shown.rows"))}
    if kind == "image":
        content = record.array("shown.png").tobytes()
        ends = [0, *record.array("shown.ends").tolist()]
        return StoredInputs(kind, places, tuple(content[a:b] for a, b in pairwise(ends)))
    if kind == "text":
        return StoredInputs(kind, places, texts=tuple(visible(text) for text in record.words["shown.texts"]))
    if kind == "table":
        columns = tuple(visible_token(name) for name in record.words["shown.columns"])
        return StoredInputs(kind, places, columns=columns, numbers=record.array("shown.table"))
    lines = record.array("shown.series").astype(np.float64) * float(record.array("shown.scale"))
    return StoredInputs(kind, places, numbers=lines)
