"""Accuracy, overlap and its derivative along training, with the onset of grokking and the overlap's peak."""

import plotly.graph_objects as go

from tangentlens.records import Figure
from tangentlens.report.blocks import Block, Chart, Lead, Note, Section
from tangentlens.report.charts import HUES, INK, band, chart, mark, seeds, stacked
from tangentlens.report.numbers import number, plain, several, with_spread
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import LAG, ONSET, PEAK


def _build(run: StoredRun) -> tuple[Block, ...]:
    sentence = " ".join(part for part in (_onset(run), _peak(run), _lag(run)) if part)
    return (
        Lead(sentence),
        _curves(run, sentence),
        Note(
            f"Onset: the epoch at which test accuracy crosses {_threshold(run)}, interpolated between checkpoints. "
            "Peak: the vertex of the parabola through the largest growth of the overlap and its two neighbours; "
            "growth is a central difference. "
            "Faint lines are single seeds, strong lines their mean; a shaded band is the 95 % interval of the mean."
        ),
    )


def _onset(run: StoredRun) -> str:
    onset = run.figures.get(ONSET)
    if onset is None or onset.value is None:
        return f"Test accuracy does not cross {_threshold(run)} in any seed: there is no onset of grokking to mark."
    missing = 0 if onset.n is None else len(run.seeds) - onset.n
    aside = f"; in {several(missing, 'seed')} it never does" if missing else ""
    return f"Test accuracy crosses {_threshold(run)} at epoch {with_spread(onset)}{aside}."


def _threshold(run: StoredRun) -> str:
    level = run.config.get("analysis", {}).get("onset_accuracy")
    return "the threshold" if level is None else f"{plain(100 * level, decimals=1)} %"


def _peak(run: StoredRun) -> str:
    peak = run.figures.get(PEAK)
    if peak is None or peak.value is None:
        return ""
    return f"The overlap with the sum features grows fastest at epoch {with_spread(peak)}."


def _lag(run: StoredRun) -> str:
    lag = run.figures.get(LAG)
    if lag is None or lag.value is None:
        return ""
    if lag.value == 0:
        return "Both come at the same epoch."
    order = "before" if lag.value > 0 else "after"
    sure = " (the interval includes no lag at all)" if _straddles_zero(lag) else ""
    return f"The kernel's change comes {number(abs(lag.value), 'epochs')} epochs {order} the onset{sure}."


def _straddles_zero(figure: Figure) -> bool:
    return figure.interval is not None and figure.interval[0] <= 0 <= figure.interval[1]


def _curves(run: StoredRun, alt: str) -> Chart:
    epoch = run.arrays("epoch")[0]
    figure = stacked(3, ("Accuracy, %", "Overlap, % of the feature space", "Growth of the sum overlap, % an epoch"))
    accuracy = {name: [100 * a for a in run.arrays(f"{name}.accuracy")] for name in ("train", "test")}
    _add(figure, 1, seeds(epoch, accuracy["train"], "train accuracy", HUES[3], "dash"))
    _add(figure, 1, seeds(epoch, accuracy["test"], "test accuracy", INK))
    _add(figure, 2, seeds(epoch, run.arrays("overlap.input"), "first cliff: n and m", HUES[2], "dot"))
    _add(figure, 2, seeds(epoch, run.arrays("overlap.sum"), "second cliff: n + m", HUES[0]))
    _add(figure, 2, seeds(epoch, run.arrays("overlap.difference"), "second cliff: n − m", HUES[1], "dash"))
    growth = seeds(epoch, run.arrays("overlap.sum.derivative"), "growth of n + m", HUES[0])
    _add(figure, 3, [trace.update(showlegend=False) for trace in growth])
    _add_marks(figure, run)
    figure.update_xaxes(title_text="epoch", row=3, col=1)
    figure.update_xaxes(range=[float(epoch[0]), float(epoch[-1])])
    figure.update_yaxes(range=[-3, 103], row=1, col=1)
    figure.update_yaxes(range=[-3, 103], row=2, col=1)
    figure.update_layout(hovermode="x unified")
    return chart(figure, alt, height=640)


def _add(figure: go.Figure, row: int, traces: list[go.Scatter]) -> None:
    for trace in traces:
        figure.add_trace(trace, row=row, col=1)


def _add_marks(figure: go.Figure, run: StoredRun) -> None:
    onset, peak = (run.figures.get(key, Figure(None)) for key in (ONSET, PEAK))
    peak_is_left = onset.value is None or peak.value is None or peak.value <= onset.value
    for found, label, color, dash, left in (
        (peak, "peak", HUES[0], "dash", peak_is_left),
        (onset, "onset", INK, "solid", not peak_is_left),
    ):
        if found.value is not None:
            mark(figure, found.value, f"{label} {number(found.value, 'epoch')}", color=color, dash=dash, left=left)
        if found.interval is not None:
            band(figure, *found.interval, color)


SECTION = Section(
    "training",
    "Along training",
    _build,
    arrays=(
        "epoch",
        "train.accuracy",
        "test.accuracy",
        "overlap.input",
        "overlap.sum",
        "overlap.difference",
        "overlap.sum.derivative",
    ),
    marks=("overlap.input", "overlap.difference"),
)
