"""Singular values of the overlap between the second cliff and its features."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Lead, Note, Section
from tangentlens.report.charts import HUES, chart, seeds
from tangentlens.report.numbers import plain
from tangentlens.store import StoredRun

_NAMES = (
    ("sum", "sum features, n + m", HUES[0], "solid"),
    ("difference", "difference features, n − m", HUES[1], "dash"),
)


def _build(run: StoredRun) -> tuple[Block, ...]:
    means = {family: np.mean(np.stack(run.arrays(f"singular_values.{family}")), axis=0) for family, *_ in _NAMES}
    sentence = "; ".join(_range(family, values) for family, values in means.items()) + "."
    return (
        Lead(sentence[:1].upper() + sentence[1:]),
        _chart(run, sentence),
        Note(
            "A singular value is the cosine of a principal angle between the modes of the second cliff and the feature "
            "space: 1 where a direction of the features lies wholly inside. The squares sum to the overlap."
        ),
    )


def _range(family: str, values: np.ndarray) -> str:
    high, low = (plain(float(value), decimals=3) for value in (values[0], values[-1]))
    return f"the {len(values)} singular values of the {family} features run from {high} down to {low}"


def _chart(run: StoredRun, alt: str) -> Chart:
    figure = go.Figure()
    lowest = 1.0
    for family, name, color, dash in _NAMES:
        each = run.arrays(f"singular_values.{family}")
        lowest = min(lowest, *(float(values.min()) for values in each))
        figure.add_traces(seeds(np.arange(1, len(each[0]) + 1, dtype=np.int32), each, name, color, dash, hover=".4f"))
    figure.update_xaxes(title_text="principal angle")
    figure.update_yaxes(title_text="singular value", range=[max(0.0, lowest - 0.05), 1.01])
    figure.update_layout(hovermode="x unified")
    return chart(figure, alt, height=360)


SECTION = Section(
    "singular-values",
    "How well the features fit",
    _build,
    arrays=("singular_values.sum", "singular_values.difference"),
)
