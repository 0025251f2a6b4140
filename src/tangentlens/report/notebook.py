"""A stored run in a notebook: its figures to look at, its numbers and arrays to go on with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tangentlens.errors import InvalidInputError
from tangentlens.models.extras import optional_module
from tangentlens.records import Figure
from tangentlens.report.mode_card import ModeCard, mode_card
from tangentlens.report.mode_run import holds_modes, mode_run
from tangentlens.report.static_charts import charts_of, find_chart, themed
from tangentlens.store import StoredRun
from tangentlens.store import open_run as read_run
from tangentlens.store.tables import read_table, table_names


@dataclass(frozen=True)
class Run:
    """What a run folder holds, for a person.

    Attributes:
        stored: the run as the report reads it.
    """

    stored: StoredRun

    @property
    def config(self) -> Mapping[str, Any]:
        """config.toml, parsed."""
        return self.stored.config

    @property
    def results(self) -> Mapping[str, Figure]:
        """results.json: dotted key -> value, interval, n, seeds, unit."""
        return self.stored.figures

    @property
    def figures(self) -> tuple[str, ...]:
        """Names that `figure` knows."""
        return tuple(charts_of(self.stored))

    def figure(self, name: str, theme: str = "light") -> go.Figure:
        """A figure of the report.

        Args:
            name: one of `figures`, for example "spectrum".
            theme: "light" or "dark".

        Raises:
            InvalidInputError: the run has no figure of that name, or there is no such theme.
        """
        chart = find_chart(self.stored, name)
        if chart is None:
            remedy = _nearest(name, self.figures)
            raise InvalidInputError(f"the run has no figure {name!r}", where="figure", remedy=remedy)
        return themed(chart, theme)

    @property
    def report(self) -> Path:
        """The page."""
        return self.stored.folder / "report.html"

    @property
    def tables(self) -> tuple[str, ...]:
        """Names that `table` knows."""
        return tuple(dict.fromkeys(name for record in self.stored.seeds for name in table_names(record)))

    def table(self, name: str) -> Any:
        """A table of the run as a pandas data frame; of several seeds with a column `seed`.

        Args:
            name: one of `tables`, for example "alignment".

        Raises:
            InvalidInputError: the run has no table of that name.
            MissingExtraError: pandas is not installed.
        """
        if name not in self.tables:
            raise InvalidInputError(f"the run has no table {name!r}", where="table", remedy=_nearest(name, self.tables))
        pandas = optional_module("pandas", "tables")
        held = [record for record in self.stored.seeds if name in table_names(record)]
        frames = [pandas.DataFrame(read_table(record, name).columns) for record in held]
        if len(frames) == 1:
            return frames[0]
        for record, frame in zip(held, frames, strict=True):
            frame.insert(0, "seed", record.seed)
        return pandas.concat(frames, ignore_index=True)

    def card(self, mode: int, group: str = "total") -> ModeCard:
        """The card of a mode: its extreme inputs, what it goes with, the features it was chosen for.

        Args:
            mode: from 0.
            group: of parameters; all of them together by default.

        Raises:
            InvalidInputError: the run describes no modes, or it has no such group or mode.
        """
        if not holds_modes(self.stored):
            raise InvalidInputError(
                "the run describes no modes", where="card", remedy="tl.analyse makes runs that do; see run.report."
            )
        return mode_card(mode_run(self.stored.seeds[0]), mode, group)

    def arrays(self, name: str) -> list[np.ndarray]:
        """The stored array `name` of every seed, in the order of the seeds.

        Raises:
            InvalidInputError: not every seed holds it.
        """
        if not self.stored.has(name):
            known = sorted(set[str]().union(*(record.names for record in self.stored.seeds)))
            raise InvalidInputError(f"not every seed holds {name!r}", where="arrays", remedy=_nearest(name, known))
        return self.stored.arrays(name)


def open_run(folder: str | Path) -> Run:
    """Open a folder that `tangentlens run` made.

    Raises:
        InvalidInputError: the folder is not a run.
        StoreError: a file of the run is damaged.
    """
    return Run(read_run(Path(folder)))


def _nearest(name: str, known: Sequence[str]) -> str:
    if not known:
        return "It has none."
    near = get_close_matches(name, known, n=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return f"{meant}There are: {', '.join(known)}."
