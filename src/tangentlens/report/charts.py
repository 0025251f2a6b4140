"""The shared look of the charts. Colours are names of the page's theme, resolved in the browser."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tangentlens.report.blocks import Chart

# Hues of Okabe and Ito (2008), told apart with any colour vision; the page lightens them in the dark.
INK, SOFT = "var(--ink)", "var(--soft)"
HUES = ("var(--blue)", "var(--vermilion)", "var(--green)", "var(--purple)", "var(--ochre)")
SEQUENTIAL = "Cividis"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def stacked(rows: int, titles: Sequence[str], heights: Sequence[int] | None = None) -> go.Figure:
    """An empty figure of `rows` panels over one horizontal axis, equally high by default; a title stands above each."""
    gap = 0.11 / max(rows - 1, 1) + 0.03
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=gap, row_heights=heights)
    for row, title in enumerate(titles, start=1):
        axis = figure.layout["yaxis" if row == 1 else f"yaxis{row}"]
        figure.add_annotation(
            text=text(title), x=0, y=axis.domain[1], xref="paper", yref="paper", xanchor="left", yanchor="bottom",
            showarrow=False, font={"color": SOFT, "size": 13},
        )  # fmt: skip
    return figure


def chart(figure: go.Figure, alt: str, height: int = 420, below: int = 88) -> Chart:
    """The figure as a block of the page, with room `below` for the axis and the legend, in pixels."""
    figure.update_layout(
        template="none",
        margin={"l": 58, "r": 14, "t": 44, "b": below},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )
    return Chart(json=figure.to_json(), alt=alt, height=height)


def seeds(
    x: np.ndarray, runs: Iterable[np.ndarray], name: str, color: str, dash: str = "solid", *, hover: str = ".3g"
) -> list[go.Scatter]:
    """Every seed as a faint line under their mean.

    Args:
        x: (n,) the horizontal axis.
        runs: one (n,) array a seed.
        name: what the line is called in the legend.
        color: of the line.
        dash: of the line, so that colour is not the only sign.
        hover: format of the number under the pointer.
    """
    curves = list(runs)
    faint = [_line(x, curve, color, dash, width=1.0, opacity=0.22, hover=hover) for curve in curves if len(curves) > 1]
    for trace in faint:
        trace.update(showlegend=False, hoverinfo="skip", legendgroup=name)
    mean = _line(x, np.mean(np.stack(curves), axis=0), color, dash, width=2.2, opacity=1.0, hover=hover)
    mean.update(name=text(name), legendgroup=name)
    return [*faint, mean]


def mark(figure: go.Figure, x: float, label: str, *, color: str, dash: str, left: bool) -> None:
    """A vertical line in every panel with its label at the top, on its left or its right."""
    line = {"color": color, "width": 1.3, "dash": dash}
    figure.add_vline(x=x, row="all", col="all", layer="below", line=line)
    figure.add_annotation(
        x=x, y=1, xref="x", yref="paper", text=text(label), showarrow=False, xanchor="right" if left else "left",
        yanchor="bottom", yshift=18, font={"color": color, "size": 12},
    )  # fmt: skip


def band(figure: go.Figure, low: float, high: float, color: str) -> None:
    """A vertical band in every panel: an interval on the horizontal axis."""
    figure.add_vrect(
        x0=low, x1=high, row="all", col="all", layer="below", line={"width": 0}, fillcolor=color, opacity=0.13
    )


def text(words: str) -> str:
    """Words for plotly, which would read angle brackets as markup."""
    return html.escape(words, quote=False)


def single(array: Any) -> np.ndarray:
    """An array in float32, which a picture cannot tell from float64."""
    return np.asarray(array, dtype=np.float32)


def _line(
    x: np.ndarray, y: np.ndarray, color: str, dash: str, *, width: float, opacity: float, hover: str
) -> go.Scatter:
    return go.Scatter(
        x=x if np.issubdtype(x.dtype, np.integer) else single(x),
        y=single(y),
        mode="lines",
        opacity=opacity,
        line={"color": color, "width": width, "dash": dash},
        hovertemplate=f"%{{y:{hover}}}",
    )
