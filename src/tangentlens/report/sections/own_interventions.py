"""Ablations and shifts of a user's model: what they did beside their controls, and the verdict of each in words."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Lead, Note, Section, Table
from tangentlens.report.charts import HUES, INK, SOFT, chart, stacked, text
from tangentlens.report.numbers import listing, number, plain, several
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table

_NAME = "interventions"
Row = dict[str, str | float | int]

_NOTE = (
    "An ablation projects the values at a site off the directions in which they vary with the modes; in the "
    "parameters, it projects all weights off the gradients of the modes' amplitudes. Random functions of the input "
    "went through the same map and give as many directions; PCA is as many principal components. Directions were "
    "found on one half of the inputs, effects measured on the other. The interval is that of the effect less the mean "
    "of the random functions, over inputs; the bars' line shows the worst random function. Kept: percent of the "
    "feature's amplitude that is left, in the outputs or, where they never held it, in a linear readout of the last "
    "site. Beyond first order: share of the change of the outputs that the Jacobian does not give. p is corrected over "
    "all ablations."
)
_STEERING = (
    "A shift adds the same vector to every input's values, both ways; the dose is in units of the values' spread, for "
    "parameters of their norm."
)
_EDITS = (
    "Each matrix is moved along its part of the gradient of a mode's amplitude, J^T u, both ways, by a share of its "
    "norm. The controls are random directions of the same matrix."
)


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], _NAME).rows()
    effect = _effect(run)
    ablated = [row for row in rows if row["action"] == "ablate"]
    steered = [row for row in rows if row["action"] == "steer"]
    blocks: list[Block] = []
    if ablated:
        sentence = _sentence(ablated, "ablation")
        blocks += [Lead(sentence), _bars(ablated, effect, sentence), _table(ablated, effect, run), Note(_NOTE)]
    if steered:
        sentence = _sentence(steered, "shift")
        blocks += [Lead(sentence), _doses(steered, effect, sentence), _steering_table(steered, effect), Note(_STEERING)]
    if "table.weight_edits.verdict" in run.seeds[0].words:
        edits = read_table(run.seeds[0], "weight_edits").rows()
        blocks += [Lead(_sentence(edits, "edit of one matrix")), _edit_table(edits, effect), Note(_EDITS)]
    return tuple(blocks)


def _effect(run: StoredRun) -> str:
    loss = run.seeds[0].words.get("interventions.loss", ("",))[0]
    return "Increase of the loss" if loss else "Squared change of the outputs"


def _sentence(rows: Sequence[Row], what: str) -> str:
    """How many of each verdict."""
    words = [str(row["verdict"]) for row in rows]
    beyond = sum(each.startswith("does more than random") and "less than counts" not in each for each in words)
    parts = [f"{beyond} of {several(len(rows), what)} {'does' if beyond == 1 else 'do'} more than the random controls"]
    against = Counter(part for each in words for part in each.split("; ") if part.endswith("PCA"))
    names = {
        "does more than PCA": "more than PCA",
        "does not separate from PCA": "not separable from PCA",
        "does less than PCA": "less than PCA",
    }
    counted = [f"{against[key]} {name}" for key, name in names.items() if against[key]]
    return f"{parts[0]}{'; ' + listing(counted) if counted else ''}."


def _bars(rows: Sequence[Row], effect: str, alt: str) -> Chart:
    """A panel for each site: effect of every block beside PCA and random functions."""
    sites = list(dict.fromkeys(str(row["site"]) for row in rows))
    figure = stacked(len(sites), [_site(site) for site in sites])
    for place, site in enumerate(sites, start=1):
        own = [row for row in rows if row["site"] == site]
        x = [text(str(row["what"])) for row in own]
        low = [max(0.0, float(row["effect"]) - float(row["control_mean"]) - float(row["low"])) for row in own]
        high = [max(0.0, float(row["high"]) - float(row["effect"]) + float(row["control_mean"])) for row in own]
        worst = [float(row["control_worst"]) - float(row["control_mean"]) for row in own]
        first = place == 1
        figure.add_trace(
            _bar(x, own, "effect", "modes", HUES[0], first).update(
                error_y={"type": "data", "array": high, "arrayminus": low, "color": INK, "thickness": 1}
            ),
            row=place,
            col=1,
        )
        figure.add_trace(_bar(x, own, "pca", "principal components", HUES[1], first), row=place, col=1)
        figure.add_trace(_bar(x, own, "control_mean", "random functions, mean to worst", SOFT, first).update(
            error_y={"type": "data", "array": worst, "arrayminus": [0.0] * len(own), "color": INK, "thickness": 1}),
            row=place, col=1)  # fmt: skip
    figure.update_xaxes(showticklabels=True, matches=None, type="category")
    figure.update_layout(barmode="group", bargap=0.3)
    return chart(figure, f"{effect} by ablation. {alt}", height=190 * len(sites) + 100)


def _bar(x: list[str], rows: Sequence[Row], column: str, name: str, color: str, legend: bool) -> go.Bar:
    values = [None if math.isnan(float(row[column])) else float(row[column]) for row in rows]
    return go.Bar(
        x=x, y=values, name=name, marker={"color": color}, legendgroup=name, showlegend=legend,
        hovertemplate="%{x}: %{y:.3g}",
    )  # fmt: skip


def _doses(rows: Sequence[Row], effect: str, alt: str) -> Chart:
    """A panel for each site: effect of single modes against the dose, beside the random functions."""
    rows = [row for row in rows if row["size"] == 1]
    sites = list(dict.fromkeys(str(row["site"]) for row in rows))
    figure = stacked(len(sites), [_site(site) for site in sites])
    names = list(dict.fromkeys(str(row["what"]) for row in rows))
    for place, site in enumerate(sites, start=1):
        for line in _dose_lines([row for row in rows if row["site"] == site], names, place == 1):
            figure.add_trace(line, row=place, col=1)
    figure.update_xaxes(type="log", tickformat="~g", matches=None, showticklabels=True, dtick="D2")
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return chart(figure, f"{effect} by shifts of growing length. {alt}", height=200 * len(sites) + 100)


def _dose_lines(rows: Sequence[Row], names: Sequence[str], legend: bool) -> Iterator[go.Scatter]:
    """The lines of one site: every mode's, then the controls of the first."""
    of = {name: [row for row in rows if row["what"] == name] for name in names}
    for hue, name in enumerate(names):
        yield _line(of[name], "effect", name, HUES[hue % len(HUES)], "solid", legend)
    first = of[str(rows[0]["what"])]
    yield _line(first, "control_mean", "random functions", INK, "dot", legend)
    yield _line(first, "pca", "principal component", INK, "dash", legend)


def _line(rows: Sequence[Row], column: str, name: str, color: str, dash: str, legend: bool) -> go.Scatter:
    values = [float(row[column]) if float(row[column]) > 0 else None for row in rows]
    return go.Scatter(
        x=[float(row["dose"]) for row in rows], y=values, name=text(name), legendgroup=name, showlegend=legend,
        mode="lines+markers", line={"color": color, "dash": dash, "width": 1.8}, hovertemplate="%{y:.3g}",
    )  # fmt: skip


def _site(name: str) -> str:
    return {"inputs": "the inputs", "parameters": "all parameters"}.get(name, f"out of {name}")


def _table(rows: Sequence[Row], effect: str, run: StoredRun) -> Table:
    name = run.seeds[0].words.get("interventions.performance", ("",))[0]
    change, unit = ("R²", "") if name == "r2" else ("Accuracy", "points")
    columns = (
        "Taken out", "Verdict", effect, "Beyond random", "Random (worst)", "PCA", change, "Feature kept (random)",
        "Beyond first order", "p",
    )  # fmt: skip
    cells = [
        (
            _where(row), _verdict(row), _number(row, "effect"), _interval(row), _random(row),
            _number(row, "pca"), _signed(row, unit), _kept(row), _number(row, "unpredicted"),
            _number(row, "p_corrected"),
        )
        for row in rows
    ]  # fmt: skip
    return Table(columns, cells, "Modes and blocks of modes taken out", (2, 3, 4, 5, 6, 8, 9))


def _steering_table(rows: Sequence[Row], effect: str) -> Table:
    columns = ("Moved along", "Verdict", "Dose", effect, "Random (worst)", "PCA", "Beyond first order", "p")
    cells = [
        (
            _where(row), _verdict(row), plain(float(row["dose"]), decimals=2), _number(row, "effect"),
            _random(row), _number(row, "pca"), _number(row, "unpredicted"), _number(row, "p_corrected"),
        )
        for row in rows
    ]  # fmt: skip
    return Table(columns, cells, "Values moved along modes", tuple(range(2, 8)))


def _edit_table(rows: Sequence[Row], effect: str) -> Table:
    columns = (
        "Matrix", "Verdict", "Share of the norm", effect, "Beyond random", "Random directions (worst)",
        "Random functions", "p",
    )  # fmt: skip
    cells = [
        (
            f"{row['parameter']}, {row['what']}", _verdict(row), plain(float(row["dose"]), decimals=2),
            _number(row, "effect"), _interval(row), _random(row), _number(row, "random_functions"),
            _number(row, "p_corrected"),
        )
        for row in rows
    ]  # fmt: skip
    return Table(columns, cells, "Single weight matrices edited", tuple(range(2, 8)))


def _verdict(row: Row) -> str:
    """In lines that break between its parts alone."""
    return "; ".join(part.replace(" ", "\u00a0") for part in str(row["verdict"]).split("; "))


def _where(row: Row) -> str:
    return f"{row['what']}, {_site(str(row['site']))}"


def _random(row: Row) -> str:
    return f"{_number(row, 'control_mean')} ({_number(row, 'control_worst')})"


def _kept(row: Row) -> str:
    if not row["feature"] or math.isnan(float(row["feature_kept"])):
        return str(row["feature"])
    among = _number(row, "feature_kept_control", "percent")
    return f"{row['feature']}: {_number(row, 'feature_kept', 'percent')}{f' ({among})' if among else ''}"


def _number(row: Row, column: str, unit: str = "") -> str:
    value = float(row[column])
    return number(value, unit) if math.isfinite(value) else ""


def _interval(row: Row) -> str:
    return f"{number(float(row['low']))} to {number(float(row['high']))}"


def _signed(row: Row, unit: str) -> str:
    value = float(row["accuracy_change"])
    return "" if math.isnan(value) else f"{value:+.3g} {unit}".strip()


def _held(run: StoredRun) -> bool:
    return bool(run.seeds) and f"table.{_NAME}.verdict" in run.seeds[0].words


SECTION = Section("ablations", "Do the modes matter?", _build, when=_held)
