"""The charts of a page as plotly figures of their own, in the colours of one of the page's themes."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tangentlens.errors import InvalidInputError
from tangentlens.report.blocks import Block, Chart, Charts, Section
from tangentlens.report.sections import SECTIONS
from tangentlens.store import StoredRun

THEMES: Mapping[str, str] = {"light": ":root", "dark": ':root[data-theme="dark"]'}
_FONT = "Helvetica, Arial, sans-serif"


def charts_of(run: StoredRun) -> dict[str, Chart]:
    """Every chart of a run's page, named by its section; a section's second chart ends in -2."""
    return dict(_by_section(run, SECTIONS))


def find_chart(run: StoredRun, name: str) -> Chart | None:
    """One of them, without building the other sections; None where there is none of that name."""
    likely = [section for section in SECTIONS if name == section.name or name.startswith(f"{section.name}-")]
    return dict(_by_section(run, likely)).get(name)


def _by_section(run: StoredRun, sections: Sequence[Section]) -> Iterator[tuple[str, Chart]]:
    for section in sections:
        if section.belongs_to(run):
            charts = [chart for block in section.blocks(run) for chart in _charts_in(block)]
            for place, chart in enumerate(charts, start=1):
                yield section.name if place == 1 else f"{section.name}-{place}", chart


def _charts_in(block: Block) -> tuple[Chart, ...]:
    if isinstance(block, Charts):
        return block.items
    return (block,) if isinstance(block, Chart) else ()


def themed(chart: Chart, theme: str = "light") -> go.Figure:
    """The chart as a figure that needs no page.

    Args:
        theme: "light" or "dark".

    Raises:
        InvalidInputError: there is no such theme.
    """
    colours = palette(theme)
    figure = go.Figure(_resolved(json.loads(chart.json), colours))
    ink, soft = colours["ink"], colours["soft"]
    axis = {
        "gridcolor": colours["grid"],
        "linecolor": colours["line"],
        "zeroline": False,
        "automargin": True,
        "tickfont": {"color": soft, "size": 12},
        "title_font": {"color": soft, "size": 13},
    }
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    figure.update_layout(
        height=chart.height,
        font={"family": _FONT, "size": 13, "color": ink},
        paper_bgcolor=colours["paper"],
        plot_bgcolor=colours["paper"],
        hoverlabel={"bgcolor": colours["card"], "bordercolor": colours["line"], "font": {"color": ink}},
    )
    return figure


@cache
def palette(theme: str) -> Mapping[str, str]:
    """Name -> colour of a theme, as the page's style sheet has it.

    Raises:
        InvalidInputError: there is no such theme.
    """
    if theme not in THEMES:
        raise InvalidInputError(f"there is no theme {theme!r}", where="theme", remedy=f"Choose {' or '.join(THEMES)}.")
    style = (Path(__file__).parent / "templates" / "report.css").read_text("utf-8")
    body = style.partition(THEMES[theme] + " {")[2].partition("}")[0]
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", body))


def _resolved(value: Any, colours: Mapping[str, str]) -> Any:
    """The same tree with the theme's colours in place of var(--name), and arrays in place of their encoding."""
    if isinstance(value, str):
        name = re.fullmatch(r"var\(--([a-z]+)\)", value)
        return colours[name.group(1)] if name else value
    if isinstance(value, dict):
        return _array(value) if "bdata" in value else {key: _resolved(item, colours) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, colours) for item in value]
    return value


def _array(encoded: Mapping[str, Any]) -> np.ndarray:
    """An array from plotly's typed form: base64 of its bytes, with dtype and, for several axes, shape ("2, 3")."""
    flat = np.frombuffer(base64.b64decode(encoded["bdata"]), dtype=np.dtype(encoded["dtype"]).newbyteorder("<"))
    shape = str(encoded.get("shape", len(flat)))
    return flat.reshape([int(length) for length in shape.split(",")])
