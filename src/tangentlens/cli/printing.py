"""What the commands print of a run, a comparison and an examination: tables of rich, and lines."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from tangentlens.cli.console import Terminal, shown_path
from tangentlens.language.doctor import Examination, Verdict
from tangentlens.paper import about
from tangentlens.report.comparison import Compared, Comparison, run_names, shown
from tangentlens.report.numbers import mean_and_interval, notes_by_seeds
from tangentlens.store import StoredRun, open_run
from tangentlens.store.about import Expectation

_LINE_OF_KEY = 26  # characters


def print_summary(terminal: Terminal, folder: Path) -> None:
    """Print a run's headline figures, what falls short, what the computation noted, and the report's path."""
    run = open_run(folder, about)
    expected = tuple(row for row in run.about.expected if row.bounded)
    if expected and not terminal.quiet:
        terminal.out.print(figures_table(run, expected))
        terminal.say(*shortfalls(run, expected), *caveats(run))
    terminal.say(*(f"{seeds}: {note}" for seeds, note in notes_by_seeds(run.notes)))
    terminal.answer(f"report: {shown_path(folder / 'report.html')}")


def figures_table(run: StoredRun, expected: tuple[Expectation, ...]) -> Table:
    """Every expected figure with its value, its bound and whether it meets it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("value" if len(run.seeds) == 1 else "mean (95 % interval)", justify="right", no_wrap=True)
    table.add_column("expected", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in expected:
        figure = run.figures.get(row.key)
        value = mean_and_interval(figure) if figure and figure.value is not None else ""
        table.add_row(row.key, value, row.bound, row.verdict(figure))
    return table


def comparison_tables(found: Comparison, figures: Sequence[Compared]) -> list[Table]:
    """Where the configs of two runs differ, if they do, and the figures asked for side by side."""
    names = run_names(found)
    config = [(each.name, each.first, each.second) for each in found.config]
    rows = [(each.key, shown(each.first), shown(each.second), each.change, each.verdict) for each in figures]
    tables = [_keyed_table(("config", *names), config)] if config else []
    return [*tables, _keyed_table(("figure", *names, "change", "intervals"), rows)]


def _keyed_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column holds dotted keys, broken at dots."""
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(Text(column), overflow="ellipsis" if place == 0 else "fold", no_wrap=place == 0)
    for key, *cells in rows:
        table.add_row(*map(Text, (_broken(key), *cells)))
    return table


def _broken(key: str) -> str:
    """A long dotted key on several lines."""
    lines = [""]
    for part in re.findall(r"[^.]*\.?", key):
        if len(lines[-1]) + len(part) > _LINE_OF_KEY and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def checks_table(found: Examination) -> Table:
    """Every check of an examination with its verdict, what was found and the remedy."""
    styles = {Verdict.FINE: "green", Verdict.NOTE: "yellow", Verdict.FAILS: "bold red"}
    table = Table(box=None, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for check in found.checks:
        remedy = Text(f"\n{check.remedy}" if check.remedy else "", style="dim")
        table.add_row(Text(check.name), Text(check.verdict, styles[check.verdict]), Text(check.finding) + remedy)
    return table


def diagnosis(found: Examination) -> str:
    """An examination in one line."""
    if not found.failing:
        return f"{found.model}: everything that was looked at will work"
    return f"{found.model}: will not work: {', '.join(check.name for check in found.failing)}"


def shortfalls(run: StoredRun, expected: tuple[Expectation, ...]) -> list[str]:
    """The figures that fall short of their bounds or were not measured, a line for each of the two."""
    keys: dict[str, list[str]] = {"falls short": [], "not measured": [], "meets": []}
    for row in expected:
        keys[row.verdict(run.figures.get(row.key))].append(row.key)
    return [f"{verdict}: {', '.join(keys[verdict])}" for verdict in ("falls short", "not measured") if keys[verdict]]


def caveats(run: StoredRun) -> list[str]:
    """Why the bounds may not apply to a run: another config, or a single seed."""
    different = run.about.departures
    other = [f"the bounds were stated for another config; here {', '.join(different)}"] if different else []
    return [*other, "the bounds are on means over several seeds; this is one"] if len(run.seeds) == 1 else other
