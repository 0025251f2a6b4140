"""Effects of taking modes out of the network, and of moves along them."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from tangentlens.records import Figure
from tangentlens.report import labels
from tangentlens.report.blocks import Block, Chart, Lead, Note, Section, Table
from tangentlens.report.charts import HUES, INK, SOFT, chart, seeds, stacked
from tangentlens.report.numbers import listing, number
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import BASELINE, MODES, RANDOM, Ablation, Move

_SPACES = {"functions": "functions of the input", "directions": "directions of the layer", "parameters": "weights"}
_ALL, _KEPT = (*_SPACES, "ablate"), "kept."
_LOOKS = {
    MODES: ("leading modes", HUES[0], "solid"),
    "second_cliff": ("second cliff", HUES[3], "longdash"),
    BASELINE: ("principal components", HUES[1], "dash"),
    "random_functions": ("random functions", HUES[2], "dot"),
    RANDOM: ("random", INK, "dashdot"),
}
_NAMES = {
    "first_cliff": "first cliff",
    "second_cliff": "second cliff",
    "sum_block": "first block (sum features)",
    "axis_block": "second block (axis sums)",
    "following": "modes that follow",
    BASELINE: "principal components",
    "random_functions": "random functions, same map",
    RANDOM: "random",
    MODES: "both blocks",
}


def _build(run: StoredRun) -> tuple[Block, ...]:
    blocks: list[Block] = [Lead(_sentence(run))]
    if run.has("ablation.size"):
        blocks.append(_ablation_chart(run))
    blocks += [_table(run), Note(_ABLATION_NOTE)]
    if run.has("steering.dose"):
        sentence = _steering_sentence(run)
        blocks += [Lead(sentence), _steering_chart(run, sentence), Note(_STEERING_NOTE)]
    return tuple(blocks)


_ABLATION_NOTE = (
    "Ablation: a block of modes and its controls of equal dimension are projected out. As functions of the input:"
    " out of the hidden values over all inputs at once. As directions: out of the hidden layer along the "
    "directions in which its values vary with the modes, one projection for every input. In the weights: along "
    "the gradients of the modes' amplitudes. Kept: amplitude of a feature family that is left in the outputs "
    "(below 0: turned round). Removed: the share of the values' variance, of the weights' squared length, that "
    "went with it. Accuracy is on test rows."
)
_STEERING_NOTE = (
    "Moves: every input's values are shifted by the same vector, both ways, along unit directions; the dose is in "
    "units of the values' own spread. The change of the outputs is in units of their variation, root mean square over "
    "directions and signs. Dotted lines are what first order predicts: where they part, the response is not linear."
)


def _sentence(run: StoredRun) -> str:
    found = _ablations(run)
    after = [_shown(found.get(("ablate", name, "accuracy"))) or number(None) for name in (MODES, BASELINE, RANDOM)]
    return (
        f"With both blocks of modes taken out of what the last layer reads, test accuracy is {after[0]}; "
        f"with as many principal components {after[1]}, with as many random functions {after[2]}."
    )


def _ablations(run: StoredRun) -> dict[tuple[str, str, str], Figure]:
    """(space, what was taken out, statistic) -> figure."""
    found = Ablation.among(run.figures)
    return {(key.space, key.part, key.statistic): figure for key, figure in found.items() if key.space in _ALL}


def _table(run: StoredRun) -> Table:
    found = _ablations(run)
    kept = {statistic.removeprefix(_KEPT) for *_, statistic in found if statistic.startswith(_KEPT)}
    families = sorted(kept, key=labels.order)
    columns = ("Taken out of", "What", "Accuracy", *(f"{labels.family(f)} kept" for f in families), "Removed")
    statistics = ("accuracy", *(f"{_KEPT}{family}" for family in families), "removed")
    rows = [
        (_SPACES[space], _NAMES.get(part, part), *(_shown(found.get((space, part, name))) for name in statistics))
        for space in _SPACES
        for part in _parts(found, space)
    ]
    return Table(columns, rows, "Test accuracy and features left after an ablation", tuple(range(2, len(columns))))


def _parts(found: Mapping[tuple[str, str, str], Figure], space: str) -> list[str]:
    parts = [part for place, part, statistic in found if (place, statistic) == (space, "accuracy")]
    order = list(_NAMES)
    return sorted(parts, key=lambda part: order.index(part) if part in order else len(order))


def _shown(figure: Figure | None) -> str:
    return number(figure.value, figure.unit) if figure else ""


def _ablation_chart(run: StoredRun) -> Chart:
    sizes = run.arrays("ablation.size")[0]
    figure = stacked(2, ("Accuracy, %: functions taken out", "Accuracy, %: directions taken out"))
    for row, space in enumerate(("functions", "directions"), start=1):
        for name in (MODES, BASELINE, RANDOM):
            label, color, dash = _LOOKS[name]
            for trace in seeds(sizes, run.arrays(f"ablation.{space}.{name}.accuracy"), label, color, dash):
                figure.add_trace(trace.update(showlegend=bool(trace.name) and row == 1), row=row, col=1)
    figure.update_yaxes(range=[-4, 104])
    figure.update_xaxes(title_text="how many, the leading ones first", row=2, col=1)
    figure.update_layout(hovermode="x unified")
    return chart(
        figure, "Test accuracy against the number of leading functions taken out of the last layer's input", 520
    )


def _sites(run: StoredRun) -> list[str]:
    suffix = f".{MODES}.change"
    names = sorted(name for name in run.seeds[0].names if name.startswith("steering.") and name.endswith(suffix))
    order = ("inputs", "embeddings", "preactivations", "activations", "residual")
    found = [name.removeprefix("steering.").removesuffix(suffix) for name in names]
    return sorted(found, key=lambda site: order.index(site) if site in order else len(order))


def _steering_sentence(run: StoredRun) -> str:
    words = []
    for site in _sites(run):
        figure = run.figures.get(str(Move(site, "sensitivity_ratio", f"{MODES}_over_{BASELINE}")))
        if figure is not None and figure.value is not None:
            words.append(f"{number(figure.value, figure.unit)} at the {site}")
    return (
        "Moves along the leading modes change the outputs, relative to equal moves along principal components, by a "
        f"factor of {listing(words)}."
        if words
        else "Moves along the leading modes were not compared with principal components."
    )


def _steering_chart(run: StoredRun, alt: str) -> Chart:
    sites, doses = _sites(run), run.arrays("steering.dose")[0]
    figure = stacked(len(sites), [f"Change, moved at the {site}" for site in sites])
    for row, site in enumerate(sites, start=1):
        for name, (label, color, dash) in _LOOKS.items():
            if not run.has(f"steering.{site}.{name}.change"):
                continue
            change, predicted = (
                np.mean(np.stack(run.arrays(f"steering.{site}.{name}.{kind}")), axis=0)
                for kind in ("change", "predicted")
            )
            line = {"color": color, "width": 2, "dash": dash}
            figure.add_trace(
                go.Scatter(x=doses, y=change, name=label, line=line, mode="lines+markers", legendgroup=name,
                           showlegend=row == 1, hovertemplate="%{y:.3g}"), row=row, col=1,
            )  # fmt: skip
            figure.add_trace(
                go.Scatter(x=doses, y=predicted, line={"color": color, "width": 1, "dash": "dot"}, mode="lines",
                           opacity=0.6, showlegend=False, legendgroup=name, hoverinfo="skip"), row=row, col=1,
            )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=list(doses), tickformat="~g")
    figure.update_yaxes(type="log", dtick=1, tickformat="~g", tickcolor=SOFT)
    figure.update_xaxes(title_text="dose, in units of the spread", row=len(sites), col=1)
    figure.update_layout(hovermode="x unified")
    return chart(figure, alt, height=210 * len(sites) + 110)


def _intervened(run: StoredRun) -> bool:
    return any(statistic == "accuracy" for *_, statistic in _ablations(run))


SECTION = Section("interventions", "Do the modes matter?", _build, when=_intervened)
