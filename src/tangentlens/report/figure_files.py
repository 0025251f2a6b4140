"""The figures of a report as files for papers, drawn by a Chrome or Chromium on this machine through kaleido."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import plotly.graph_objects as go

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.models.extras import optional_module
from tangentlens.report.static_charts import charts_of, themed
from tangentlens.store import StoredRun
from tangentlens.store.atomic import storing, write_bytes

FORMATS = ("pdf", "svg", "png")
_WIDTH = 720  # CSS pixels
_PIXELS = 2  # of a png, for each CSS pixel


def write_figures(run: StoredRun, folder: Path, formats: Sequence[str], theme: str = "light") -> tuple[Path, ...]:
    """Write every figure of a run's page; nothing is fetched from the network.

    Args:
        run: as the report would show it.
        folder: made if it is missing; files of the same names are replaced.
        formats: some of FORMATS; pdf and svg are vector files.
        theme: "light" or "dark".

    Raises:
        InvalidInputError: a format or the theme is unknown.
        MissingExtraError: kaleido is not installed, or it finds no browser.
        StoreError: the folder cannot be written.
    """
    unknown = [ending for ending in formats if ending not in FORMATS]
    if unknown or not formats:
        raise InvalidInputError(
            f"no figure can be written as {', '.join(unknown) or 'nothing'}",
            where="figures",
            remedy=f"Give one or more of {', '.join(FORMATS)}, with commas between them.",
        )
    kaleido = optional_module("kaleido", "figures")
    figures = {name: themed(chart, theme) for name, chart in charts_of(run).items()}
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread already runs an event loop
        drawn = thread.submit(asyncio.run, _drawn(kaleido, figures, formats)).result()
    for name, content in drawn.items():
        write_bytes(folder / name, content)
    return tuple(folder / name for name in drawn)


async def _drawn(kaleido: ModuleType, figures: Mapping[str, go.Figure], formats: Sequence[str]) -> dict[str, bytes]:
    """Name of each file -> what is in it, from one browser."""
    try:
        browser = kaleido.Kaleido(mathjax=False)
    except RuntimeError as error:  # choreographer's ChromeNotFoundError
        raise MissingExtraError(
            "kaleido finds no Chrome or Chromium to draw with",
            remedy="Install one (Debian: apt install chromium), or name it in the environment variable BROWSER_PATH.",
        ) from error
    files: dict[str, bytes] = {}
    async with browser:
        for name, figure in figures.items():
            for ending in formats:
                options = {
                    "format": ending,
                    "width": _WIDTH,
                    "height": figure.layout.height,
                    "scale": _PIXELS if ending == "png" else 1,
                }
                files[f"{name}.{ending}"] = await browser.calc_fig(figure, options)
    return files
