"""A film: panels one above the other, of which a slider moves one field each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale

from tangentlens.report.blocks import Film
from tangentlens.report.charts import SEQUENTIAL, chart, stacked

_MOST_FRAMES = 100
_ABOVE, _BELOW = 44, 56  # pixels around the panels


@dataclass(frozen=True)
class Panel:
    """One trace of a film.

    Attributes:
        title: stands above the panel.
        height: in CSS pixels.
        trace: at the last frame.
        field: what of the trace moves: "y" or "z".
        frames: the field at every frame, as JSON holds it.
        x, y: options of the panel's axes; {"matches": "x"} shares the first panel's horizontal axis.
    """

    title: str
    height: int
    trace: go.Scatter | go.Bar | go.Heatmap
    field: str
    frames: Sequence[Any]
    x: dict[str, Any]
    y: dict[str, Any]


def kept_frames(count: int) -> np.ndarray:
    """Places of the frames that a film shows: all of up to 100, else 100 evenly spaced, first and last included."""
    places: np.ndarray = np.unique(np.linspace(0, count - 1, min(count, _MOST_FRAMES)).round().astype(int))
    return places


def film(panels: Sequence[Panel], axis: str, names: tuple[str, ...], alt: str) -> Film:
    """Panels with a slider along `axis`, shown at the last of the frames that `names` name."""
    drawn = chart(_figure(panels), alt, height=sum(panel.height for panel in panels) + _ABOVE + _BELOW, below=_BELOW)
    frames = [[{panel.field: panel.frames[place]} for panel in panels] for place in range(len(names))]
    return Film(drawn, axis, names, json.dumps(frames, allow_nan=False))


def _figure(panels: Sequence[Panel]) -> go.Figure:
    figure = stacked(len(panels), [panel.title for panel in panels], [panel.height for panel in panels])
    for row, panel in enumerate(panels, start=1):
        figure.add_trace(panel.trace, row=row, col=1)
        figure.update_xaxes(**{"matches": None, **panel.x}, row=row, col=1)
        figure.update_yaxes(**panel.y, row=row, col=1)
    bar = {"title": {"text": "%", "side": "top"}, "thickness": 11, "len": 0.6, "x": 1.01, "xpad": 0, "outlinewidth": 0}
    figure.update_layout(coloraxis={"colorscale": _by_root(), "cmin": 0, "cmax": 100, "colorbar": bar})
    return figure


def _by_root() -> list[tuple[float, str]]:
    """The sequential colours by the square root of the value: in a degenerate space a mode has a little of many."""
    return [(float(place) ** 2, color) for place, color in get_colorscale(SEQUENTIAL)]
