"""Key frequencies, the unembedding along training, and which parameter holds which family."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Chart, Lead, Note, Section, Table
from tangentlens.report.charts import HUES, SEQUENTIAL, chart, single, stacked, text
from tangentlens.report.numbers import number, plain, with_spread
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import (
    GROUP_CHANCE,
    LAST_EPOCH,
    ONSET,
    TEST_ACCURACY,
    TEST_ACCURACY_AT_PAPER_EPOCH,
    GroupOverlap,
    Overlap,
)

_FAMILIES = ("n", "m", "sum", "difference", "axis_sum", "axis_difference", "2n", "2m")
_PARAMETERS = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "W_U")  # as the data meet them
_WORDS = {"axis_sum": "axis-sum", "axis_difference": "axis-difference"}


def _build(run: StoredRun) -> tuple[Block, ...]:
    layers = _layers(run)
    return (
        Lead(_overlap_sentence(run)),
        _frequencies(run),
        Note(
            "The kernel names a frequency where its sum wave lies among the unembedding's leading modes, the embedding "
            "where it stands out of the Fourier spectrum of W_E. Only networks that have learned the task have "
            "overlaps."
        ),
        _dynamics(run),
        Note("Test accuracy and the unembedding's overlaps at the final key frequencies, a line for each network."),
        *layers,
    )


def _overlap_sentence(run: StoredRun) -> str:
    found = {key: with_spread(run.figures.get(str(Overlap(f"unembed.{key}")))) for key in _KEYS}
    return (
        f"The unembedding's leading modes, as many as the sum features at the key frequencies and the constant, hold "
        f"{found['sum']} of the sum features; the next block holds {found['axis_sum']} of the axis-sum features. Both "
        f"blocks together hold {found['joint.sum']} and {found['joint.axis_sum']}."
    )


_KEYS = ("sum", "axis_sum", "joint.sum", "joint.axis_sum")


def _frequencies(run: StoredRun) -> Table:
    rows = []
    for record in run.seeds:
        named = [", ".join(map(str, record.array(f"frequencies.{key}"))) or "none" for key in ("kernel", "embedding")]
        keys = (TEST_ACCURACY_AT_PAPER_EPOCH, LAST_EPOCH, TEST_ACCURACY, ONSET)
        overlaps = tuple(str(Overlap(f"unembed.{key}")) for key in _KEYS[:2])
        cells = [number(record.figures.get(key), record.units.get(key, "")) for key in (*keys, *overlaps)]
        rows.append((str(record.seed), *named, *cells))
    columns = (
        "Seed",
        "Frequencies, kernel",
        "Frequencies, embedding",
        "Accuracy, paper's end",
        "Last epoch",
        "Accuracy",
        "Onset",
        "Sum",
        "Axis-sum",
    )
    return Table(columns, rows, "The networks", numeric=tuple(range(3, len(columns))))


def _dynamics(run: StoredRun) -> Chart:
    curves = (
        ("test accuracy, %", "test.accuracy", 100.0),
        ("sum overlap, %", "overlap.sum", 1.0),
        ("axis-sum overlap of the next block, %", "overlap.axis_sum", 1.0),
    )
    figure = stacked(len(curves), [title for title, *_ in curves])
    for row, (_, name, scale) in enumerate(curves, start=1):
        for position, record in enumerate(record for record in run.seeds if name in record.names):
            line = go.Scatter(
                x=record.array("epoch"),
                y=single(scale * record.array(name)),
                mode="lines",
                line={"color": HUES[position % len(HUES)], "width": 1.2},
                name=text(f"seed {record.seed}"),
                legendgroup=str(record.seed),
                showlegend=row == 1,
            )
            figure.add_trace(line, row=row, col=1)
    figure.update_yaxes(range=[0, 102])
    figure.update_xaxes(title_text="epoch", row=len(curves), col=1)
    return chart(figure, "Test accuracy and overlaps of the unembedding along training, by seed.", height=560)


def _layers(run: StoredRun) -> tuple[Block, ...]:
    groups = [name for name in _PARAMETERS if str(GroupOverlap(name, "sum")) in run.figures]
    if not groups:
        return (Note("No network of this run has learned the task: there is no table of layers."),)
    values = np.array([[_percent(run, group, family) for family in _FAMILIES] for group in groups])
    names = [_WORDS.get(family, labels.family(family)) for family in _FAMILIES]
    chance = run.figures.get(GROUP_CHANCE)
    sentence = " ".join(
        f"{name} is held most by {groups[int(column.argmax())]} ({plain(column.max(), decimals=0)} %)."
        for name, column in zip(names, values.T, strict=True)
    )
    figure = go.Figure(
        go.Heatmap(
            z=single(values),
            x=[text(name) for name in names],
            y=groups,
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=100,
            texttemplate="%{z:.0f}",
            colorbar={"title": {"text": "%", "side": "top"}, "thickness": 11, "len": 0.6, "outlinewidth": 0},
        )
    )
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    expected = number(chance.value, chance.unit) if chance else number(None)
    return (
        Lead(sentence),
        chart(figure, sentence, height=450, below=90),
        Note(
            "Percent of a family, at the key frequencies, inside modes 0..4K of one parameter's own kernel, K the "
            f"number of key frequencies; mean over networks. As many random directions would hold {expected}. 2n and "
            "2m are the features of n and m at twice the frequency."
        ),
    )


def _percent(run: StoredRun, group: str, family: str) -> float:
    figure = run.figures.get(str(GroupOverlap(group, family)))
    return float("nan") if figure is None or figure.value is None else figure.value


SECTION = Section(
    "frequencies",
    "Frequencies, layers and training",
    _build,
    arrays=("epoch", "frequencies.kernel", "frequencies.embedding"),
    marks=("frequencies.kernel", "frequencies.embedding"),
)
