"""Two stored runs side by side: where their configs differ, and every figure of both with its interval."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tangentlens.records import Figure
from tangentlens.report import labels
from tangentlens.report.numbers import mean_and_interval, number
from tangentlens.store import StoredRun
from tangentlens.store.flat_config import flat_config

_ABSENT = "not there"
_MADE_WITH = ("tangentlens", "commit", "torch", "python")


@dataclass(frozen=True)
class Difference:
    """A value that two runs do not share.

    Attributes:
        name: dotted key.
        first, second: the values as text; "not there" where a run has none.
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Compared:
    """One figure of two runs.

    Attributes:
        key: in results.json.
        first, second: None where a run does not have it.
    """

    key: str
    first: Figure | None
    second: Figure | None

    @property
    def label(self) -> str:
        """The figure in words; its key where it has none."""
        return labels.figure(self.key)

    @property
    def change(self) -> str:
        """Second minus first, in the figure's unit; empty where that means nothing."""
        if self.first is None or self.second is None or self.first.unit != self.second.unit:
            return ""
        if self.first.value is None or self.second.value is None or self.first.unit == "verdict":
            return ""
        return _signed(self.second.value - self.first.value, self.first.unit)

    @property
    def verdict(self) -> str:
        """Relation of the two intervals.

        "apart" where both 95 % intervals are known and do not meet, "overlap" where they do, "equal" where the values
        are the same, "one run" where the other does not have it, and empty where an interval is missing. Intervals that
        meet do not show that two runs agree, and runs that share seeds or data are not independent.
        """
        if self.first is None or self.second is None:
            return "one run"
        if self.first.unit != self.second.unit:
            return "other unit"
        if self.first.value == self.second.value:
            return "equal"
        if self.first.interval is None or self.second.interval is None:
            return ""
        apart = self.first.interval[1] < self.second.interval[0] or self.second.interval[1] < self.first.interval[0]
        return "apart" if apart else "overlap"


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side: where they differ, and every figure of both.

    Attributes:
        first, second: the runs.
        config: keys of the config whose values differ, seeds included.
        environment: versions that differ.
        figures: every figure of either run, by key.
    """

    first: StoredRun
    second: StoredRun
    config: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    figures: tuple[Compared, ...]

    @property
    def headline(self) -> tuple[Compared, ...]:
        """The figures that either setting's experiment expects something of; all where there are none."""
        expected = {row.key for run in (self.first, self.second) for row in run.about.expected}
        chosen = tuple(figure for figure in self.figures if figure.key in expected)
        return chosen or self.figures


def compare(first: StoredRun, second: StoredRun) -> Comparison:
    """Lay two runs side by side; they may be of different settings."""
    return Comparison(
        first,
        second,
        tuple(_differences(flat_config(first.config), flat_config(second.config))),
        tuple(_differences(*({key: run.environment.get(key) for key in _MADE_WITH} for run in (first, second)))),
        tuple(
            Compared(key, first.figures.get(key), second.figures.get(key))
            for key in sorted(first.figures.keys() | second.figures.keys())
        ),
    )


def summary(comparison: Comparison) -> str:
    """One sentence: how many figures the runs share, and how many of them lie apart."""
    shared = [each for each in comparison.figures if each.first is not None and each.second is not None]
    verdicts = [each.verdict for each in shared]
    alone = len(comparison.figures) - len(shared)
    others = f"; {alone} are in one run alone" if alone else ""
    return (
        f"Of {len(shared)} figures that both runs have, {verdicts.count('equal')} are equal, and in "
        f"{verdicts.count('apart')} the 95 % intervals do not meet{others}."
    )


def run_names(comparison: Comparison) -> tuple[str, str]:
    """Names of the two runs: their folders', with as much of the path as makes them differ."""
    first, second = (run.folder.resolve() for run in (comparison.first, comparison.second))
    longest = max(len(first.parts), len(second.parts))
    apart = (depth for depth in range(1, longest) if first.parts[-depth:] != second.parts[-depth:])
    depth = next(apart, 1)
    return "/".join(first.parts[-depth:]), "/".join(second.parts[-depth:])


def shown(figure: Figure | None) -> str:
    """A figure's value and interval in words."""
    return _ABSENT if figure is None else mean_and_interval(figure)


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            yield Difference(key, _value(first, key), _value(second, key))


def _value(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return _ABSENT if value is None else str(value)


def _signed(difference: float, unit: str) -> str:
    """A difference with its sign; percentages differ by points."""
    words = number(abs(difference), unit).replace("%", "points")
    rounds_to_nothing = not re.search("[1-9]", words)
    return words if rounds_to_nothing else f"{'−' if difference < 0 else '+'}{words}"
