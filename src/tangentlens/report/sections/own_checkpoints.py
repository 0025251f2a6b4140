"""A user's checkpoints: performance, shares and scores along training, the film, the transition."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Lead, Note, Section, Table
from tangentlens.report.charts import DASHES, HUES, INK, chart, mark, stacked, text
from tangentlens.report.film import Panel, film, kept_frames
from tangentlens.report.film_panels import spectrum_line
from tangentlens.report.numbers import number, plain, several
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table

Row = dict[str, str | float | int]
_MOST = 8  # features drawn, those whose share changes most

_NOTE = (
    "Share: percent of the leading modes' kernel that goes along the feature. Score: AUROC, R² or percent of a space, "
    "of each checkpoint's own best mode, chosen on one half of the inputs and scored on the other. Onset: where the "
    "performance first reaches the middle between its first and its largest value. Peak: where the share grows "
    "fastest, between the second and the last but one checkpoint. The interval of the lag is a bootstrap over inputs."
)


def _build(run: StoredRun) -> tuple[Block, ...]:
    record = run.seeds[0]
    points = read_table(record, "checkpoints").rows()
    training = _rows(run, "training")
    total = [row for row in training if row["group"] == "total"]
    times = _rows(run, "transitions")
    sentence = _sentence(points, times)
    blocks: list[Block] = [Lead(sentence), _curves(run, points, total, times, sentence), Note(_NOTE)]
    if times:
        blocks.append(_times(times))
    blocks.append(_film(run, sentence))
    blocks.append(Note("Move the slider. Above, the eigenvalues of the whole kernel at that checkpoint; below, percent "
                       "of each mode, a column, that lies along each feature, a row."))  # fmt: skip
    return tuple(blocks)


def _rows(run: StoredRun, name: str) -> list[Row]:
    return read_table(run.seeds[0], name).rows() if f"table.{name}" in run.seeds[0].words else []


def _sentence(points: Sequence[Row], times: Sequence[Row]) -> str:
    words = [f"{several(len(points), 'checkpoint')}, from step {points[0]['step']:g} to {points[-1]['step']:g}."]
    known = [row for row in times if math.isfinite(float(row["lag"]))]
    sure = [row for row in known if float(row["low"]) > 0]
    if known:
        words.append(
            f"The kernel's share has a transition for {len(known)} of {several(len(times), 'feature')}; for "
            f"{len(sure) or 'none'} of them it comes before the onset of the performance with its whole interval."
        )
    elif times:
        words.append(f"No feature has a transition: {times[0]['reason']}.")
    return " ".join(words)


def _curves(run: StoredRun, points: Sequence[Row], total: Sequence[Row], times: Sequence[Row], alt: str) -> Chart:
    steps = [float(row["step"]) for row in points]
    panels = _panels(points, run.seeds[0].words.get("checkpoint.performance", ("",))[0])
    shares = ["Share of the kernel, %", "Score: AUROC, R², share of a space"] if total else []
    titles = [title for title, _ in panels] + shares or ["Largest eigenvalue"]
    figure = stacked(len(titles), titles)
    for place, (_, columns) in enumerate(panels, start=1):
        for dash, (column, name) in enumerate(columns.items()):
            values = [row[column] for row in points]
            figure.add_trace(_line(steps, values, name, INK, dash, place == 1), place, 1)
    if not panels and not total:
        figure.add_trace(_line(steps, [row["top_eigenvalue"] for row in points], "largest", INK, 0, False), 1, 1)
    _add_features(figure, steps, total, len(panels) + 1)
    _mark_onset(figure, steps, times)
    figure.update_xaxes(title_text="step", row=len(titles), col=1)
    figure.update_layout(hovermode="x unified")
    return chart(figure, alt, height=170 * len(titles) + 130, below=120)


def _panels(points: Sequence[Row], performance: str) -> list[tuple[str, dict[str, str]]]:
    """The title of each panel about performance, and its columns with their names; those that hold something."""
    here = "here, on the scoring half"
    accuracies = {"accuracy": here, "test_accuracy": "test accuracy, as given",
                  "train_accuracy": "train accuracy, as given"}  # fmt: skip
    first = ("R²", {"accuracy": here}) if performance == "r2" else ("Accuracy, %", accuracies)
    wanted = (first, ("Loss", {"loss": here}))
    held = [(title, {column: name for column, name in columns.items() if _any(points, column)})
            for title, columns in wanted]  # fmt: skip
    return [(title, columns) for title, columns in held if columns]


def _mark_onset(figure: go.Figure, steps: Sequence[float], times: Sequence[Row]) -> None:
    onset = next((float(row["onset"]) for row in times if math.isfinite(float(row["onset"]))), math.nan)
    if math.isfinite(onset):
        left = onset > sum(steps) / len(steps)
        mark(figure, onset, f"onset {number(onset, 'epoch')}", color=INK, dash="solid", left=left)


def _add_features(figure: go.Figure, steps: list[float], total: Sequence[Row], panel: int) -> None:
    """Share and score of the features that change most, in two panels."""
    for place, feature in enumerate(_chosen(total)):
        own = [row for row in total if row["feature"] == feature]
        color, dash = HUES[place % len(HUES)], place // len(HUES)
        scores = np.array([float(row["score"]) for row in own])
        scores = scores / 100 if np.nanmax(scores, initial=0.0) > 1.001 else scores  # a space's is in percent
        figure.add_trace(_line(steps, [row["share"] for row in own], feature, color, dash, True), panel, 1)
        figure.add_trace(_line(steps, scores.tolist(), feature, color, dash, False), panel + 1, 1)


def _any(points: Sequence[Row], column: str) -> bool:
    return any(math.isfinite(float(row[column])) for row in points)


def _chosen(total: Sequence[Row]) -> list[str]:
    """The features whose share changes most along training, in the order given."""
    names = list(dict.fromkeys(str(row["feature"]) for row in total))
    shares = {name: [float(row["share"]) for row in total if row["feature"] == name] for name in names}
    ranked = sorted(names, key=lambda name: min(shares[name]) - max(shares[name]))[:_MOST]
    return [name for name in names if name in ranked]


def _line(steps: list[float], values: Sequence[Any], name: str, color: str, dash: int, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=steps, y=[None if math.isnan(float(value)) else float(value) for value in values], name=text(name),
        legendgroup=name, showlegend=legend, mode="lines+markers", marker={"size": 4},
        line={"color": color, "dash": DASHES[dash % len(DASHES)], "width": 1.8}, hovertemplate="%{y:.3g}",
    )  # fmt: skip


def _times(times: Sequence[Row]) -> Table:
    def cell(row: Row, column: str) -> str:
        value = float(row[column])
        return plain(value, decimals=2) if math.isfinite(value) else ""

    rows = [
        (
            str(row["feature"]), cell(row, "onset"), cell(row, "peak"), cell(row, "lag"),
            f"{cell(row, 'low')} to {cell(row, 'high')}" if math.isfinite(float(row["low"])) else "",
            number(float(row["found"]), "percent"), str(row["reason"]),
        )
        for row in times
    ]  # fmt: skip
    columns = ("Feature", "Onset", "Peak of growth", "Lag", "Interval", "Resamples with both", "Why not")
    return Table(columns, rows, "When the performance rises and when each share grows fastest", (1, 2, 3, 4, 5))


def _film(run: StoredRun, alt: str) -> Block:
    record = run.seeds[0]
    steps, values = record.array("checkpoint.step"), record.array("checkpoint.values.total")
    kept = kept_frames(len(steps))
    panels = [spectrum_line("Spectrum of the whole kernel", np.nan_to_num(values[kept], nan=0.0))]
    if "checkpoint.film" in record.names:
        panels.append(_map(record.array("checkpoint.film")[kept], record.words["checkpoint.film"]))
    names = tuple(f"{step:g}" for step in steps[kept].tolist())
    return film(panels, "Step", names, alt)


def _map(frames: np.ndarray, names: Sequence[str]) -> Panel:
    pictures = [frame.T.astype(int).tolist() for frame in frames]
    trace = go.Heatmap(
        z=pictures[-1], y=[text(_short(name)) for name in names], coloraxis="coloraxis",
        hovertemplate="mode %{x}, %{y}: %{z} %<extra></extra>",
    )  # fmt: skip
    y = {"autorange": "reversed", "ticks": "", "showgrid": False, "type": "category", "automargin": True, "dtick": 1}
    height = max(110, 22 * len(names) + 40)
    across = {"showgrid": False, "title_text": "mode"}
    return Panel("% of each mode along each feature", height, trace, "z", pictures, across, y)


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"


def _held(run: StoredRun) -> bool:
    return bool(run.seeds) and run.has("checkpoint.step") and "table.checkpoints" in run.seeds[0].words


SECTION = Section("checkpoints", "Along training", _build, when=_held)
