"""Training as a film: the spectrum and the overlaps at every checkpoint, with a slider."""

import json

import numpy as np
import plotly.graph_objects as go

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Film, Lead, Note, Section
from tangentlens.report.charts import HUES, INK, chart, single, stacked, text
from tangentlens.report.numbers import listing, number, plain, several
from tangentlens.store import SeedRecord, StoredRun

_OVERLAP = "overlap."
# Eigenvalues at every checkpoint, as the settings call them, with a title.
_VALUES = {"spectrum.total": "Spectrum of the whole kernel", "tracks.values": "Eigenvalues of the modes followed"}


def _build(run: StoredRun) -> tuple[Block, ...]:
    record = run.seeds[0]
    epochs, values, overlaps = record.array("epoch"), record.array(_source(record)), _overlaps(record)
    sentence = _sentence(record, values, overlaps)
    figure = _figure(_VALUES[_source(record)], values, overlaps)
    frames = [[_numbers(_positive(row)), *_bars(overlaps, place)] for place, row in enumerate(values)]
    drawn = chart(figure, sentence, height=460, below=56)
    return (
        Lead(sentence),
        Film(drawn, "Epoch", tuple(map(str, epochs.tolist())), json.dumps(frames, allow_nan=False)),
        Note(
            "Move the slider, with the arrow keys too, or play the film. Above, the eigenvalues at that checkpoint; "
            "below, the percent of each feature family inside the modes that the paper names for it."
        ),
    )


def _source(record: SeedRecord) -> str:
    return next(name for name in _VALUES if name in record.names)


def _overlaps(record: SeedRecord) -> dict[str, np.ndarray]:
    """Family -> (E,) percent at every checkpoint."""
    length = len(record.array("epoch"))
    families = [name.removeprefix(_OVERLAP) for name in record.names if name.startswith(_OVERLAP)]
    curves = {family: record.array(_OVERLAP + family) for family in sorted(families, key=labels.order)}
    return {family: curve for family, curve in curves.items() if curve.shape == (length,) and "." not in family}


def _sentence(record: SeedRecord, values: np.ndarray, overlaps: dict[str, np.ndarray]) -> str:
    first, last = (plain(float(row.max()), decimals=1) for row in (values[0], values[-1]))
    grown = [
        f"{labels.family(family)} from {number(float(curve[0]), 'percent')} to {number(float(curve[-1]), 'percent')}"
        for family, curve in overlaps.items()
    ]
    tail = f"; the overlaps with the features change: {listing(grown)}" if grown else ""
    return (
        f"In the {several(len(values), 'checkpoint')} of seed {record.seed} the largest eigenvalue goes from {first} "
        f"to {last}{tail}."
    )


def _figure(title: str, values: np.ndarray, overlaps: dict[str, np.ndarray]) -> go.Figure:
    """The last checkpoint; axes that hold every one."""
    figure = stacked(2 if overlaps else 1, [title, "Overlap, %"][: 2 if overlaps else 1])
    known = _positive(values)
    figure.add_scatter(
        x=np.arange(values.shape[1]), y=_numbers(known[-1]), mode="lines+markers", marker={"size": 4}, row=1, col=1,
        line={"color": INK, "width": 1.4}, showlegend=False, hovertemplate="mode %{x}: %{y:.3e}<extra></extra>",
    )  # fmt: skip
    bounds = [float(np.log10(bound)) for bound in (np.nanmin(known, initial=1.0), np.nanmax(known, initial=1.0))]
    figure.update_yaxes(type="log", range=[bounds[0] - 0.1, bounds[1] + 0.1], exponentformat="power", row=1, col=1)
    figure.update_xaxes(showticklabels=True, matches=None, row=1, col=1)
    if overlaps:
        figure.add_bar(
            x=[text(labels.family(family)) for family in overlaps], y=_bars(overlaps, -1)[0], showlegend=False,
            marker={"color": HUES[0]}, width=0.5, row=2, col=1, texttemplate="%{y:.1f}", textposition="inside",
            textangle=0, hovertemplate="%{x}: %{y:.1f} %<extra></extra>",
        )  # fmt: skip
        figure.update_yaxes(range=[0, 100], row=2, col=1)
        figure.update_xaxes(type="category", matches=None, row=2, col=1)
    return figure


def _bars(overlaps: dict[str, np.ndarray], place: int) -> list[list[float | None]]:
    return [_numbers(np.array([curve[place] for curve in overlaps.values()]))] if overlaps else []


def _positive(values: np.ndarray) -> np.ndarray:
    """NaN where rounding left a zero or negative eigenvalue, which a log scale cannot show."""
    return single(np.where(values > 0, values, np.nan))


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]


def _filmed(run: StoredRun) -> bool:
    return any(run.has("epoch", name) for name in _VALUES)


SECTION = Section("film", "Training as a film", _build, settings=("mlp", "transformer"), when=_filmed)
