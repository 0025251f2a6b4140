"""Features that a bottleneck represents, beside those that the modes of its kernel recover."""

import numpy as np
import plotly.graph_objects as go

from tangentlens.errors import NotStoredError
from tangentlens.report.blocks import Block, Chart, Lead, Note, Section, Table
from tangentlens.report.charts import DASHES, HUES, INK, SEQUENTIAL, SOFT, chart, seeds, single, stacked
from tangentlens.report.numbers import interval, number
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import FigureKey, KernelFigure, NetworkFigure

_HEATMAP = "heatmap."
_COUNTS = ("count", "untrained.count")


def _build(run: StoredRun) -> tuple[Block, ...]:
    configured = _configured(run)
    kernels = [(regime, tau) for regime, tau in configured if run.has(f"{_HEATMAP}{regime}.{tau}")]
    if not kernels:
        raise NotStoredError(f"{_HEATMAP}<regime>.<rescaling> of any kernel")
    sentence = " ".join(_sentence(run, *kernel) for kernel in kernels)
    maps = tuple(_map(run, *kernel) for kernel in kernels)
    recovery, spectra = _recovery(run, kernels), _spectra(run, kernels)
    return (
        Lead(sentence),
        *_absent([kernel for kernel in configured if kernel not in kernels]),
        _table(run, kernels),
        Note(
            "A feature is represented where its entry of WᵀW reaches the threshold, and recovered where at least "
            "the stated share of its squared length lies inside as many leading modes as there are features. The "
            "control is the same network on the same inputs before its training."
        ),
        recovery,
        Note(
            "Features in the order of their importance: how much of each the leading modes hold, trained and "
            "untrained, beside its entry of WᵀW."
        ),
        spectra,
        *maps,
        Note(f"Heat maps of seed {run.seeds[0].seed}: |mode · feature|, each column divided by its largest entry."),
    )


def _absent(kernels: list[tuple[str, str]]) -> tuple[Note, ...]:
    named = [f"{regime}, {_tau(tau)}" for regime, tau in kernels]
    return (Note(f"Not shown, since the run does not hold their heat maps: {'; '.join(named)}."),) if named else ()


def _configured(run: StoredRun) -> list[tuple[str, str]]:
    """(regime, rescaling), in the order of the config."""
    taus = [f"tau{round(100 * tau):03d}" for tau in run.option("kernel", "taus")]
    return [(str(regime["name"]), tau) for regime in run.option("regimes") for tau in taus]


def _tau(name: str) -> str:
    return f"τ = {int(name.removeprefix('tau')) / 100:g}"


def _value(run: StoredRun, key: FigureKey) -> str:
    figure = run.figures.get(str(key))
    return number(figure.value, figure.unit) if figure else number(None)


def _sentence(run: StoredRun, regime: str, tau: str) -> str:
    represented = _value(run, NetworkFigure(regime, "represented.count"))
    recovered, before = (_value(run, KernelFigure(regime, tau, f"recovered.{which}")) for which in _COUNTS)
    return (
        f"{regime.capitalize()}, {_tau(tau)}: {represented} features represented, {recovered} recovered ({before} "
        "before training)."
    )


def _table(run: StoredRun, kernels: list[tuple[str, str]]) -> Table:
    columns = {
        "Recovered": "recovered.count",
        "Represented features, recovery": "recovery.represented.percent",
        "the same, untrained": "recovery.untrained.represented.percent",
        "Other features, recovery": "recovery.other.percent",
        "Trace of the leading modes": "trace.leading.percent",
        "Seeds with a cliff there": "cliff.at_features",
    }
    rows = []
    for regime, tau in kernels:
        represented = NetworkFigure(regime, "represented.count")
        cells = [_value(run, KernelFigure(regime, tau, name)) for name in columns.values()]
        spread = interval(run.figures.get(str(represented)))
        rows.append((f"{regime}, {_tau(tau)}", _value(run, represented), spread, *cells))
    headings = ("Regime", "Represented", "95 % interval", *columns)
    return Table(headings, rows, "Represented and recovered features", numeric=tuple(range(1, len(headings))))


def _recovery(run: StoredRun, kernels: list[tuple[str, str]]) -> Chart:
    figure = stacked(len(kernels), [f"{regime}, {_tau(tau)}" for regime, tau in kernels])
    for row, (regime, tau) in enumerate(kernels, start=1):
        curves = (
            ("recovery, trained", f"recovery.{regime}.{tau}", HUES[0], "solid"),
            ("recovery, untrained", f"recovery.untrained.{regime}.{tau}", HUES[1], "dot"),
            ("WᵀW", f"represented.{regime}", INK, "dash"),
        )
        for name, array, color, dash in curves:
            each = run.arrays(array)
            lines = seeds(np.arange(len(each[0]), dtype=np.int32), each, name, color, dash)
            for line in lines:
                figure.add_trace(line.update(showlegend=row == 1 and line is lines[-1]), row=row, col=1)
    figure.update_xaxes(title_text="feature", row=len(kernels), col=1)
    alt = "Recovery of each feature by the leading modes, beside how strongly the network represents it."
    return chart(figure, alt, height=170 * len(kernels) + 100)


def _spectra(run: StoredRun, kernels: list[tuple[str, str]]) -> Chart:
    figure = go.Figure()
    for position, (regime, tau) in enumerate(kernels):
        each = [values / values[0] for values in run.arrays(f"spectrum.{regime}.{tau}")]
        color, dash = HUES[position % len(HUES)], DASHES[position % len(DASHES)]
        mode = np.arange(len(each[0]), dtype=np.int32)
        figure.add_traces(seeds(mode, each, f"{regime}, {_tau(tau)}", color, dash, hover=".2e"))
    features = int(run.option("data", "features"))
    figure.add_vline(x=features - 0.5, line={"color": SOFT, "width": 1.2, "dash": "dash"})
    figure.update_xaxes(title_text="mode")
    figure.update_yaxes(title_text="eigenvalue over the first", type="log", exponentformat="power")
    alt = (
        f"Spectra of the rescaled kernels; a dashed line stands after as many modes as there are features, {features}."
    )
    return chart(figure, alt, height=420)


def _map(run: StoredRun, regime: str, tau: str) -> Chart:
    overlaps = run.arrays(f"{_HEATMAP}{regime}.{tau}")[0]
    columns = overlaps / np.maximum(overlaps.max(axis=0), np.finfo(overlaps.dtype).tiny)
    figure = stacked(1, [f"{regime}, {_tau(tau)}"])
    figure.add_trace(
        go.Heatmap(
            z=single(columns.round(3)),
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=1,
            hovertemplate="mode %{y}, feature %{x}: %{z:.2f}<extra></extra>",
            colorbar={"thickness": 11, "len": 0.6, "outlinewidth": 0},
        )
    )
    figure.update_xaxes(title_text="feature", showgrid=False)
    figure.update_yaxes(title_text="mode", autorange="reversed", showgrid=False)
    alt = f"Overlap of the leading modes with the features of regime {regime}, {_tau(tau)}."
    return chart(figure, alt, height=380, below=48)


def _represents(run: StoredRun) -> bool:
    return any(name.startswith("represented.") for record in run.seeds for name in record.names)


SECTION = Section("recovery", "Features represented and features found", _build, arrays=("step",), when=_represents)
