"""Blocks that a section of a report is made of; the template draws each kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tangentlens.errors import NotStoredError
from tangentlens.store import StoredRun

_LONG = 30  # rows that a table shows at full length, at most


@dataclass(frozen=True)
class Lead:
    """A sentence that states, with its number, what the figure below it shows."""

    text: str
    kind: ClassVar[str] = "lead"


@dataclass(frozen=True)
class Note:
    """Explanation of a figure, or a caveat."""

    text: str
    kind: ClassVar[str] = "note"


@dataclass(frozen=True)
class Chart:
    """A plotly figure.

    Attributes:
        json: the figure as JSON; colours of the form var(--name) are those of the page's theme.
        alt: what it shows, for those who do not see it.
        height: in CSS pixels on a wide screen.
    """

    json: str
    alt: str
    height: int = 420
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Charts:
    """Figures side by side where there is room."""

    items: tuple[Chart, ...]
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Film:
    """A figure with a slider.

    Attributes:
        chart: the figure as it is shown first, at its last frame.
        axis: what the slider moves along.
        names: one for each frame.
        frames: JSON; for each frame what changes of every trace, for example its vertical coordinates {"y": [...]}.
    """

    chart: Chart
    axis: str
    names: tuple[str, ...]
    frames: str
    kind: ClassVar[str] = "film"


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        columns: headings.
        rows: one cell a column; the first cell heads its row.
        caption: what the table holds.
        numeric: indices of the columns set flush right.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str
    numeric: tuple[int, ...] = ()
    kind: ClassVar[str] = "table"

    @property
    def shown(self) -> tuple[int, ...]:
        """Indices of the columns that hold anything: a run of one seed has no intervals to show."""
        return tuple(column for column in range(len(self.columns)) if any(row[column] for row in self.rows))

    @property
    def long(self) -> bool:
        """True for a table that scrolls within a part of the screen, under its headings."""
        return len(self.rows) > _LONG


@dataclass(frozen=True)
class Picture:
    """A small image with its caption.

    Attributes:
        source: a data: address.
        caption: what it shows.
    """

    source: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Small multiples.

    Attributes:
        title: heading of the row.
        items: the images, in order.
    """

    title: str
    items: tuple[Picture, ...]
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Tile:
    """One headline figure.

    Attributes:
        label: what it is.
        value: the number with its unit.
        spread: interval and number of seeds.
        bound: what was expected.
        verdict: "meets", "falls short", "not measured", or "" where nothing was expected.
    """

    label: str
    value: str
    spread: str
    bound: str
    verdict: str


@dataclass(frozen=True)
class Tiles:
    """Headline figures side by side."""

    items: tuple[Tile, ...]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Facts:
    """Named values in groups: what was run.

    Attributes:
        groups: (title, ((name, value), ...)).
    """

    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Code:
    """Text to copy."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Cards:
    """Cards that the page draws when somebody opens them.

    Attributes:
        json: what is on them (`report.cards.deck`).
    """

    json: str
    kind: ClassVar[str] = "cards"


Block = Lead | Note | Chart | Charts | Film | Table | Pictures | Tiles | Facts | Code | Cards


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        build: from a run to blocks; called only when every array named in `arrays` is there.
        arrays: names of the arrays it needs.
        marks: arrays of which a run that has the section holds at least one; by default `arrays`.
        when: whether a run has what else the section is about; True for every run by default.
    """

    name: str
    title: str
    build: Callable[[StoredRun], tuple[Block, ...]]
    arrays: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    when: Callable[[StoredRun], bool] = field(default=lambda _run: True)

    def belongs_to(self, run: StoredRun) -> bool:
        """True where the page of this run has the section."""
        marks = self.marks or self.arrays
        return (not marks or any(run.has(name) for name in marks)) and self.when(run)

    def blocks(self, run: StoredRun) -> tuple[Block, ...]:
        """The section's content, or a note on what the run lacks."""
        absent = [name for name in self.arrays if not run.has(name)]
        if absent:
            return (Note(f"Not shown: the run does not hold {', '.join(absent)}."),)
        try:
            return self.build(run)
        except NotStoredError as error:
            return (Note(f"Not shown: the run does not hold {error.missing}."),)
