"""Which features each block of modes holds, by family and frequency."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Chart, Lead, Note, Section
from tangentlens.report.charts import SEQUENTIAL, chart, single, stacked, text
from tangentlens.report.numbers import listing, number, span
from tangentlens.store import StoredRun

FAMILIES = ("n", "m", "sum", "difference", "2n", "2m")


def _build(run: StoredRun) -> tuple[Block, ...]:
    maps = {
        family: np.mean(np.stack(run.arrays(f"heatmap.{family}")), axis=0) for family in FAMILIES
    }  # NaN: no feature
    blocks = maps["n"].shape[0]
    sentence = " ".join(_sentence(maps, block) for block in range(min(1, blocks - 1), blocks))
    seeds = f", mean of {len(run.seeds)} seeds" if len(run.seeds) > 1 else ""
    return (
        Lead(sentence),
        _chart(maps, blocks, sentence),
        Note(
            "A cell is the percent of the two-dimensional feature space (cosine and sine) of one frequency that lies "
            f"inside a block of modes, at the last checkpoint{seeds}; the ranges above are over frequencies. The 2n "
            "and 2m features are those of n and m at twice the frequency: the same ones in another order for odd p."
        ),
    )


def _sentence(maps: dict[str, np.ndarray], block: int) -> str:
    """The families that the block holds by more than half at their mean, with the range over frequencies."""
    title = _title(block, maps["n"].shape[1])
    held = {family: values[block] for family, values in maps.items() if np.nanmean(values[block]) > 50}
    if not held:
        best = max(maps, key=lambda family: float(np.nanmean(maps[family][block])))
        most = number(float(np.nanmean(maps[best][block])), "percent")
        return f"{title}, holds no family by more than half on average (the most: {labels.family(best)}, {most})."
    named = {family: values for family, values in held.items() if not family.startswith("2")} or held
    words = [f"{_range(values)} of the {labels.family(family)} features" for family, values in named.items()]
    return f"{title}, holds {listing(words)}."


def _range(values: np.ndarray) -> str:
    return span([float(value) for value in values if not np.isnan(value)], "percent")


def _title(block: int, frequencies: int) -> str:
    if block == 0:
        return "Mode 0"
    name = {1: "The first cliff", 2: "The second cliff"}.get(block, f"Block {block}")
    return f"{name}, modes {4 * frequencies * (block - 1) + 1} to {4 * frequencies * block}"


def _chart(maps: dict[str, np.ndarray], blocks: int, alt: str) -> Chart:
    frequencies = maps["n"].shape[1]
    figure = stacked(blocks, [_title(block, frequencies) for block in range(blocks)])
    names = [text(labels.family(family)) for family in FAMILIES]
    for block in range(blocks):
        rows = np.stack([maps[family][block] for family in FAMILIES])
        figure.add_trace(_heatmap(rows, names, block, frequencies), row=block + 1, col=1)
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    figure.update_xaxes(showgrid=False, dtick=1 if frequencies <= 20 else None)
    figure.update_xaxes(title_text="frequency k", row=blocks, col=1)
    bar = {"title": {"text": "%", "side": "top"}, "thickness": 11, "len": 0.6, "x": 1.01, "xpad": 0, "outlinewidth": 0}
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 100, "colorbar": bar})
    return chart(figure, alt, height=190 * blocks + 60, below=48)


def _heatmap(rows: np.ndarray, names: list[str], block: int, frequencies: int) -> go.Heatmap:
    return go.Heatmap(
        z=single(rows),
        x=list(range(1, frequencies + 1)),
        y=names,
        coloraxis="coloraxis",
        xgap=1.5,
        ygap=1.5,
        texttemplate="%{z:.0f}",
        hovertemplate="%{y}, k = %{x}: %{z:.1f} %<extra></extra>",
        name=f"block {block}",
    )


SECTION = Section(
    "overlap",
    "What the modes hold",
    _build,
    arrays=tuple(f"heatmap.{family}" for family in FAMILIES),
)
