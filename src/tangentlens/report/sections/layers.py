"""Which layer's kernel holds which family of features."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Chart, Lead, Note, Section
from tangentlens.report.charts import SEQUENTIAL, chart, single, text
from tangentlens.report.numbers import listing, number
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import GROUP_CHANCE, GroupOverlap


def _build(run: StoredRun) -> tuple[Block, ...]:
    cells = overlap_by_group(run)
    groups = list(dict.fromkeys(group for group, _ in cells))
    families = sorted({family for _, family in cells}, key=labels.order)
    table = np.array([[cells.get((group, family), np.nan) for family in families] for group in groups])
    sentence = _sentence(table, groups, families)
    return (
        Lead(sentence),
        _chart(table, groups, families, sentence),
        Note("Percent of each family's feature space inside both cliffs of one layer's own kernel, mean over seeds."),
    )


def overlap_by_group(run: StoredRun) -> dict[tuple[str, str], float]:
    """(layer, family) -> percent inside the leading modes of the layer's own kernel."""
    found = GroupOverlap.among(run.figures)
    return {(key.group, key.family): figure.value for key, figure in found.items() if figure.value is not None}


def _sentence(table: np.ndarray, groups: list[str], families: list[str]) -> str:
    words = []
    for column, family in enumerate(families):
        if np.isnan(table[:, column]).all():
            continue
        best = int(np.nanargmax(table[:, column]))
        words.append(f"{labels.family(family)} by {groups[best]} ({number(float(table[best, column]), 'percent')})")
    return f"Each family is held most by one layer: {listing(words)}." if words else "No layer has a measured overlap."


def _chart(table: np.ndarray, groups: list[str], families: list[str], alt: str) -> Chart:
    heatmap = go.Heatmap(
        z=single(table), x=[text(labels.family(family)) for family in families], y=[text(group) for group in groups],
        colorscale=SEQUENTIAL, zmin=0, zmax=100, xgap=2, ygap=2, texttemplate="%{z:.1f}", showscale=False,
        hovertemplate="%{y}, %{x}: %{z:.1f} %<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(heatmap)
    figure.update_xaxes(showgrid=False, side="top")
    figure.update_yaxes(showgrid=False, autorange="reversed", automargin=True)
    return chart(figure, alt, height=80 + 56 * len(groups), below=12)


def _layered(run: StoredRun) -> bool:
    """Overlaps by layer, but those at key frequencies, which stand beside the frequencies."""
    return bool(overlap_by_group(run)) and GROUP_CHANCE not in run.figures


SECTION = Section("layers", "Layer by layer", _build, when=_layered)
