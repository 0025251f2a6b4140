"""Which features the network holds, where, and whether the controls agree: the first screen of an analysis."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from tangentlens.report.blocks import Block, Chart, Charts, Lead, Note, Section, Table, Tile, Tiles
from tangentlens.report.charts import HUES, INK, SEQUENTIAL, SOFT, chart, single
from tangentlens.report.group_labels import group_label
from tangentlens.report.numbers import listing
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table, table_names

_QUESTIONS = ("aligned", "learned", "used")
_WORDS = {"holds": "yes", "does not hold": "no", "undecided": "undecided", "not done": "not done"}
_METRICS = {"auroc": "AUROC", "r2": "R²", "overlap": "overlap"}
_HOW = (
    "Aligned: the best mode, chosen with its sign on one half of the inputs, goes with the feature on the other half "
    "beyond permutations that repeat the choice. Learned: the kernel predicts the feature, by ridge regression, better "
    "than the kernel of untrained networks does. Used: exchanging the feature's direction between inputs costs more "
    "than exchanging matched random ones, by the same lengths and by their own. Yes and no need a 95 % interval on "
    "one side and, for yes, p ≤ 0.05 after Holm's correction over the table; all else is undecided."
)

_Row = dict[str, str | float | int]


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], "alignment").rows()
    total = [row for row in rows if row["group"] == "total"]
    families = [row for row in total if not _is_class(row, total)]
    places = {str(row["feature"]): group_label(run, str(row["group"])) for row in rows if row["lives"]}
    return (
        Lead(_sentence(families, places)),
        Tiles(tuple(_tile(question, total) for question in _QUESTIONS)),
        Charts((_where(run, rows), _uses(total))) if _has_uses(total) else _where(run, rows),
        _table(total, places),
        Note(_HOW),
    )


def _has_uses(total: Sequence[_Row]) -> bool:
    return any(row["site"] for row in total)


def _is_class(row: _Row, total: Sequence[_Row]) -> bool:
    """Whether a feature is a class of a label that has a row of its own."""
    name = str(row["feature"])
    return " = " in name and any(other["feature"] == name.partition(" = ")[0] for other in total)


def _sentence(families: Sequence[_Row], places: Mapping[str, str]) -> str:
    """The finding: what is held, learned and used; then what is not."""
    if not families:
        return "No feature could be tested."
    full = [row for row in families if all(row[f"verdict_{q}"] in ("holds", "not done") for q in _QUESTIONS)]
    parts = []
    if full:
        asked = [q for q in _QUESTIONS if full[0][f"verdict_{q}"] != "not done"]
        verbs = {"aligned": "holds", "learned": "learned", "used": "uses"}
        parts.append(
            f"The network {listing([verbs[q] for q in asked])} {listing([_place(row, places) for row in full])}"
        )
    for row in families:
        if row not in full:
            parts.append(f"{row['feature']} is {_verdict_words(row)}")
    return f"{'. '.join(part[:1].upper() + part[1:] for part in parts)}."


def _place(row: _Row, places: Mapping[str, str]) -> str:
    """The feature and the group in which most of it lives."""
    lives = places.get(str(row["feature"]), "").replace(" (", ", ").removesuffix(")")
    return f"{row['feature']} (most in {lives})" if lives else str(row["feature"])


def _verdict_words(row: _Row) -> str:
    """ "aligned, not learned, its use undecided"."""
    words = []
    for question in _QUESTIONS:
        verdict = row[f"verdict_{question}"]
        if verdict == "holds":
            words.append(question)
        elif verdict == "does not hold":
            words.append(f"not {question}")
        elif verdict == "undecided":
            words.append(
                {"aligned": "not clearly aligned", "learned": "not clearly learned"}.get(question, "of undecided use")
            )
    return listing(words)


def _tile(question: str, total: Sequence[_Row]) -> Tile:
    verdicts = [row[f"verdict_{question}"] for row in total]
    yes, no = verdicts.count("holds"), verdicts.count("does not hold")
    asked = len(verdicts) - verdicts.count("not done")
    value = f"{yes} of {asked}" if asked else "not done"
    open_ones = asked - yes - no
    spread = ", ".join([f"{no} not", f"{open_ones} undecided"]) if asked else "needs something that was not given"
    beyond = {
        "aligned": "beyond permutations",
        "learned": "beyond untrained networks",
        "used": "beyond matched controls",
    }
    return Tile(question.capitalize(), value, spread, beyond[question], "")


def _where(run: StoredRun, rows: Sequence[_Row]) -> Chart:
    """Score of every feature in every group, as a share of the way from chance to the best there is."""
    features, groups = (list(dict.fromkeys(str(row[key]) for row in rows)) for key in ("feature", "group"))
    names = [group_label(run, name) for name in groups]
    z = np.full((len(features), len(groups)), np.nan)
    text = [["" for _ in groups] for _ in features]
    for row in rows:
        i, j = features.index(str(row["feature"])), groups.index(str(row["group"]))
        z[i, j] = _beyond_chance(row)
        text[i][j] = _score(row)
    title = "Score of every feature in every group: dark chance, bright perfect"
    figure = go.Figure(
        go.Heatmap(
            z=single(z), x=names, y=features, text=text, texttemplate="%{text}" if len(groups) <= 8 else None,
            zmin=0, zmax=1, colorscale=SEQUENTIAL, showscale=False, xgap=2, ygap=2,
            hovertemplate="%{y} in %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(type="category", showgrid=False, ticks="", side="top")
    figure.update_layout(margin={"l": 10})
    return chart(figure, title, height=120 + 26 * len(features), below=20)


def _beyond_chance(row: _Row) -> float:
    score, chance = float(row["score"]), float(row["chance"])
    best = 100.0 if row["metric"] == "overlap" else 1.0
    return float(np.clip((score - chance) / max(best - chance, 1e-9), 0, 1))


def _score(row: _Row) -> str:
    score = float(row["score"])
    return f"{score:.0f} %" if row["metric"] == "overlap" else f"{score:.2f}"


def _uses(total: Sequence[_Row]) -> Chart:
    """Effect of each feature's direction and of its worst control, in units of the mean of its controls."""
    shown = [row for row in total if row["site"] and float(row["control"]) > 0]
    names = [str(row["feature"]) for row in shown]
    figure = go.Figure()
    for key, name, colour, symbol in (
        ("worst_control", "worst of the matched controls", INK, "diamond-open"),
        ("effect", "the feature", HUES[0], "circle"),
    ):
        ratios = [float(row[key]) / float(row["control"]) for row in shown]
        figure.add_scatter(
            x=single(np.array([ratio if ratio > 0 else np.nan for ratio in ratios])), y=names, mode="markers",
            name=name, marker={"symbol": symbol, "color": colour, "size": 11},
            customdata=[[float(row[key]), str(row["site"])] for row in shown],
            hovertemplate="%{y}, " + name + ": %{x:.2g} times the mean control (%{customdata[0]:.3g}) at "
            "%{customdata[1]}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=1, line={"color": SOFT, "width": 1.2, "dash": "dash"})
    figure.update_yaxes(type="category", autorange="reversed", ticks="")
    figure.update_xaxes(title_text="cost of exchanging the direction, mean of the controls = 1", type="log")
    alt = "Cost of exchanging each feature's direction between inputs, beside the same for matched random directions"
    return chart(figure, alt, height=190 + 26 * len(names))


def _table(total: Sequence[_Row], places: Mapping[str, str]) -> Table:
    columns = (
        "Feature", "Aligned", "Learned", "Used", "Score", "95 % interval", "Untrained", "p", "Best mode", "Most in",
        "% of kernel", "% untrained", "Effect", "Controls", "Worst control", "Site",
    )  # fmt: skip
    return Table(
        columns,
        [_cells(row, places.get(str(row["feature"]), "")) for row in total],
        "Every feature in the kernel of all parameters, with its verdicts",
        numeric=(4, 5, 6, 7, 8, 10, 11, 12, 13, 14),
    )


def _cells(row: _Row, lives: str) -> tuple[str, ...]:
    mode = int(row["mode"])
    return (
        str(row["feature"]),
        *(_WORDS[str(row[f"verdict_{question}"])] for question in _QUESTIONS),
        f"{_METRICS[str(row['metric'])]} {_score(row)}",
        f"{_number(row['low'])} to {_number(row['high'])}",
        _number(row["untrained"]),
        _p(float(row["p_corrected"])),
        str(mode) if mode >= 0 else f"all {row['modes']}",
        lives,
        _number(row["share"]),
        _number(row["share_untrained"]),
        _number(row["effect"]),
        _number(row["control"]),
        _number(row["worst_control"]),
        str(row["site"]),
    )


def _number(value: str | float | int) -> str:
    number = float(value)
    if not np.isfinite(number):
        return ""
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3f}"


def _p(p: float) -> str:
    return "" if not np.isfinite(p) else f"{p:.1g}" if p < 0.001 else f"{p:.3f}"


def _holds(run: StoredRun) -> bool:
    return bool(run.seeds) and "alignment" in table_names(run.seeds[0])


SECTION = Section("features", "Which features the network holds, and uses", _build, when=_holds)
