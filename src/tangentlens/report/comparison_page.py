"""Two runs side by side as one HTML file, in the look of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import plotly.graph_objects as go

from tangentlens.errors import InvalidInputError
from tangentlens.records import Figure
from tangentlens.report.blocks import Block, Chart, Lead, Note, Table
from tangentlens.report.charts import HUES, chart, text
from tangentlens.report.comparison import Compared, Comparison, Difference, run_names, shown, summary
from tangentlens.report.page import Part, assembled
from tangentlens.store import StoredRun
from tangentlens.store.atomic import write_text

_HEIGHT_OF_ROW, _HEIGHT_AROUND = 26, 150  # CSS pixels
_MOST_ROWS = 40
_APART = 0.15  # of the two runs from the middle of a row


@dataclass(frozen=True)
class _Bar:
    """A percentage and how far its interval reaches to either side."""

    value: float
    below: float
    above: float


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the page; a file that is there is replaced in one step.

    Raises:
        InvalidInputError: the name does not end in .html.
        StoreError: the file cannot be written.
    """
    if path.suffix.lower() != ".html":
        raise InvalidInputError(
            f"a comparison is written as HTML, not as {path.suffix or 'a file without ending'}",
            where=str(path),
            remedy="Give a name that ends in .html.",
        )
    write_text(path, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """The page as HTML."""
    first, second = run_names(comparison)
    parts = (
        Part("overview", "The two runs", _overview(comparison)),
        Part("config", "Where their configs differ", _config(comparison)),
        *_drawn(comparison),
        Part("figures", "Every figure of both", _figures(comparison.figures)),
    )
    return assembled(
        "comparison.html.jinja",
        parts,
        title=_title(comparison),
        first=first,
        second=second,
        version=version("tangentlens"),
    )


def _title(comparison: Comparison) -> str:
    names = {run.about.title for run in (comparison.first, comparison.second)}
    return f"Two runs: {' and '.join(sorted(names))}"


def _overview(comparison: Comparison) -> tuple[Block, ...]:
    names = run_names(comparison)
    facts = [_facts(run, name) for run, name in zip((comparison.first, comparison.second), names, strict=True)]
    rows = [(name, facts[0][name], facts[1][name]) for name in facts[0]]
    table = Table(("", "First", "Second"), rows, "What was run")
    return Lead(summary(comparison)), table, *_versions(comparison.environment)


def _facts(run: StoredRun, name: str) -> dict[str, str]:
    return {
        "Folder": name,
        "Setting": run.setting,
        "Seeds": ", ".join(str(record.seed) for record in run.seeds) or "none",
        "Figures": str(len(run.figures)),
        "Started": str(run.environment.get("started", "unknown")).replace("T", " ").replace("+00:00", " UTC"),
    }


def _versions(environment: Sequence[Difference]) -> tuple[Block, ...]:
    if not environment:
        return (Note("Both were made with the same versions of tangentlens, torch and Python."),)
    return (Table(("Made with", "First", "Second"), _rows(environment), "Versions that differ"),)


def _config(comparison: Comparison) -> tuple[Block, ...]:
    if not comparison.config:
        return (Lead("The configs are the same."),)
    count = len(comparison.config)
    return (
        Lead(f"The configs differ in {'one key' if count == 1 else f'{count} keys'}."),
        Table(("Key", "First", "Second"), _rows(comparison.config), "Keys of config.toml whose values differ"),
    )


def _rows(differences: Sequence[Difference]) -> list[tuple[str, str, str]]:
    return [(each.name, each.first, each.second) for each in differences]


def _drawn(comparison: Comparison) -> tuple[Part, ...]:
    """The percentages of the headline, drawn; nothing where no such figure has a value in both runs."""
    bars = [
        (each.label, (first, second))
        for each in comparison.headline
        if (first := _bar(each.first)) and (second := _bar(each.second))
    ]
    if not bars:
        return ()
    note = Note("Bars are 95 % intervals; a figure of one seed has none.")
    return (Part("percentages", "The percentages", (_chart(bars[:_MOST_ROWS], run_names(comparison)), note)),)


def _bar(figure: Figure | None) -> _Bar | None:
    if figure is None or figure.value is None or figure.unit != "percent":
        return None
    low, high = figure.interval or (figure.value, figure.value)
    return _Bar(figure.value, figure.value - low, high - figure.value)


def _chart(bars: Sequence[tuple[str, tuple[_Bar, _Bar]]], names: tuple[str, str]) -> Chart:
    """Each figure of both runs as a point with its interval, the first run above the second."""
    figure = go.Figure()
    for side, name in enumerate(names):
        mine = [pair[side] for _, pair in bars]
        figure.add_scatter(
            x=[bar.value for bar in mine], y=[place + (-_APART, _APART)[side] for place in range(len(bars))],
            mode="markers", name=text(name), hovertemplate="%{x:.1f} %",
            marker={"color": HUES[side], "symbol": ("circle", "square")[side], "size": 9},
            error_x={
                "type": "data", "symmetric": False, "color": HUES[side], "thickness": 1.4,
                "array": [bar.above for bar in mine], "arrayminus": [bar.below for bar in mine],
            },
        )  # fmt: skip
    labels = [text(label) for label, _ in bars]
    figure.update_xaxes(title_text="percent")
    figure.update_yaxes(tickvals=list(range(len(bars))), ticktext=labels, range=[len(bars) - 0.5, -0.5])
    alt = "; ".join(f"{label}: {first.value:.1f} % and {second.value:.1f} %" for label, (first, second) in bars)
    return chart(figure, alt, height=_HEIGHT_AROUND + _HEIGHT_OF_ROW * len(bars))


def _figures(figures: Sequence[Compared]) -> tuple[Block, ...]:
    rows = [(each.key, shown(each.first), shown(each.second), each.change, each.verdict) for each in figures]
    return (
        Table(
            ("Figure", "First", "Second", "Second minus first", "95 % intervals"),
            rows,
            "All figures of both runs, each with its 95 % interval",
            numeric=(1, 2, 3),
        ),
        Note(
            "Intervals that do not meet lie apart. Intervals that overlap do not show that two runs agree, and runs "
            "that share seeds, data or a model are not independent: compare those pair by pair."
        ),
    )
