"""The panels of the film of training: a spectrum, maps of modes and frequencies, bars of overlaps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tangentlens.report import labels
from tangentlens.report.charts import HUES, INK, single, text
from tangentlens.report.film import Panel


def spectrum_line(title: str, values: np.ndarray) -> Panel:
    """(E, n) eigenvalues on a log scale that holds every frame."""
    known = _positive(values)
    low, high = (float(np.log10(bound)) for bound in (np.nanmin(known, initial=1.0), np.nanmax(known, initial=1.0)))
    frames = [_numbers(row) for row in known]
    trace = go.Scatter(
        x=np.arange(values.shape[1]), y=frames[-1], mode="lines+markers", marker={"size": 4}, showlegend=False,
        line={"color": INK, "width": 1.4}, hovertemplate="mode %{x}: %{y:.3e}<extra></extra>",
    )  # fmt: skip
    scale = {"type": "log", "range": [low - 0.1, high + 0.1], "exponentformat": "power"}
    return Panel(title, 190, trace, "y", frames, {"showticklabels": True}, scale)


def frequency_maps(maps: Mapping[str, np.ndarray]) -> tuple[Panel, ...]:
    """A panel for each family's (E, m, F) uint8 percent: modes across, frequencies 1..F down."""
    *upper, last = maps
    across = {"matches": "x", "showgrid": False}
    drawn = [_frequency_map(family, maps[family], across) for family in upper]
    return (*drawn, _frequency_map(last, maps[last], {**across, "title_text": "mode"}))


def overlap_bars(overlaps: Mapping[str, np.ndarray]) -> Panel:
    """A bar for each family's (E,) percent."""
    frames = [_numbers(row) for row in np.stack(list(overlaps.values()), axis=1)]
    trace = go.Bar(
        x=[text(labels.family(family)) for family in overlaps], y=frames[-1], showlegend=False,
        marker={"color": HUES[0]}, width=0.5, texttemplate="%{y:.1f}", textposition="inside", textangle=0,
        hovertemplate="%{x}: %{y:.1f} %<extra></extra>",
    )  # fmt: skip
    return Panel("Overlap, %", 170, trace, "y", frames, {"type": "category"}, {"range": [0, 100]})


def _frequency_map(family: str, frames: np.ndarray, x: dict[str, Any]) -> Panel:
    words = labels.family(family)
    pictures = [_packed(frame.T) for frame in frames]
    trace = go.Heatmap(
        z=pictures[-1], y0=1, coloraxis="coloraxis",
        hovertemplate=f"mode %{{x}}, {text(words)}, k = %{{y}}: %{{z}} %<extra></extra>",
    )  # fmt: skip
    y = {"autorange": "reversed", "ticks": "", "showgrid": False, "nticks": 6}
    return Panel(f"{words}: % of each mode at each k", 125, trace, "z", pictures, x, y)


def _packed(picture: np.ndarray) -> dict[str, Any]:
    """An array as plotly writes it into JSON: base64 with its dtype and shape."""
    figure = go.Figure(go.Heatmap(z=np.ascontiguousarray(picture)))
    written: dict[str, Any] = figure.to_dict()["data"][0]["z"]
    return written


def _positive(values: np.ndarray) -> np.ndarray:
    """NaN where rounding left a zero or negative eigenvalue, which a log scale cannot show."""
    return single(np.where(values > 0, values, np.nan))


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
