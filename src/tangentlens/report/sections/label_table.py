"""The paper's table again: every label and the macro means, each geometry against principal components."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tangentlens.records import Figure
from tangentlens.report.blocks import Block, Note, Table
from tangentlens.report.held_out import Choice
from tangentlens.report.language_run import LanguageRun, geometry_name
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import BASELINE, MODES, LabelScore, Macro, family_of, method_of

_FAMILY_NAMES = {"pos": "parts of speech", "morphology": "morphology", "": "all labels"}
_HOW = (
    "For every label the train half picks layer, mode and sign by average precision; the numbers come from the test "
    "half, which picked nothing. After the dot stands the layer. The 95 % intervals are over the stories of that half, "
    "with what was picked as it is. The paper's own table takes the layer that is best on the scores themselves, which "
    "makes numbers larger. The corrected p is that of the first column: labels permuted within the halves, everything "
    "chosen again, the largest of all labels counted. A macro mean counts every label once. Chance is 0.5 for AUROC "
    "and a label's share of the windows for average precision."
)


class _Measure(NamedTuple):
    """A measure: its array and the first part of its figures' keys, its name, the arrays of its interval."""

    array: str
    name: str
    bounds: tuple[str, ...]


_MEASURES = (
    _Measure("auroc", "AUROC", ("auroc.low", "auroc.high")),
    _Measure("average_precision", "average precision", ()),
)


class _Row(NamedTuple):
    """A row: its heading, the family and the name of its label ("" for a macro mean), the places of its labels."""

    title: str
    family: str
    label: str
    members: tuple[int, ...]

    def key(self, measure: str, method: str) -> str:
        """The key of the row's figure."""
        if self.label:
            return str(LabelScore(measure, self.family, self.label, method))
        return str(Macro(measure, self.family, method))


def label_tables(run: StoredRun, modes: LanguageRun, choices: Mapping[str, Choice]) -> tuple[Block, ...]:
    """A table for each measure that the run holds; none where no source was chosen from."""
    tables = []
    for measure in _MEASURES:
        measured = {name: each for name, each in choices.items() if modes.of(name, measure.array) is not None}
        tables += [_table(run, modes, measured, measure)] if measured else []
    return (*tables, Note(_HOW)) if tables else ()


def _table(run: StoredRun, modes: LanguageRun, choices: Mapping[str, Choice], measure: _Measure) -> Table:
    rows, sources = _rows(modes), list(choices)
    columns = [_column(run, modes, choices[source], source, measure, rows) for source in sources]
    titles, corrected = _titles(run, measure, rows), _p_column(run, modes, measure, rows)
    return Table(
        ("Label", *map(_heading, sources), "Corrected p"),
        list(zip(titles, *columns, corrected, strict=True)),
        f"Held-out {measure.name} of every label, eNTK against PCA",
        numeric=tuple(range(1, len(sources) + 2)),
    )


def _rows(modes: LanguageRun) -> tuple[_Row, ...]:
    """The macro means of the families, then every label."""
    macros = [
        _Row(f"Macro mean, {_FAMILY_NAMES.get(family, family)}", family_of(family), "", _members(modes, family))
        for family in dict.fromkeys(modes.families)
    ]
    labels = enumerate(zip(modes.labels, modes.families, strict=True))
    return (*macros, *(_Row(name, family_of(family), name, (place,)) for place, (name, family) in labels))


def _members(modes: LanguageRun, family: str) -> tuple[int, ...]:
    return tuple(place for place, each in enumerate(modes.families) if each == family)


def _heading(source: str) -> str:
    return "PCA" if source == BASELINE else f"eNTK, {geometry_name(source)}"


def _column(
    run: StoredRun, modes: LanguageRun, choice: Choice, source: str, measure: _Measure, rows: tuple[_Row, ...]
) -> list[str]:
    """A cell a row: the stored figure, else what the arrays give."""
    values = choice.best(modes.record.array(f"{source}.{measure.array}"))
    spreads = _spreads(modes, choice, source, measure)
    cells = []
    for row in rows:
        figure = run.figures.get(row.key(measure.array, method_of(source)))
        layer = f" · {modes.layers_of(source)[choice.layer[row.members[0]]]}" if row.label else ""
        spread = spreads[row.members[0]] if row.label else ""
        own = float(np.mean(values[list(row.members)]))
        cells.append((_stored(figure) or f"{_number(own)}{spread}") + layer)
    return cells


def _stored(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return ""
    return f"{_number(figure.value)}{_spread(*figure.interval) if figure.interval else ''}"


def _spreads(modes: LanguageRun, choice: Choice, source: str, measure: _Measure) -> list[str]:
    """The interval of every label, empty where none is stored."""
    arrays = [bound for name in measure.bounds if (bound := modes.of(source, name)) is not None]
    if len(arrays) < 2:
        return [""] * len(modes.labels)
    low, high = map(choice.best, arrays)
    return [_spread(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _spread(low: float, high: float) -> str:
    return f" ({_number(low)}–{_number(high)})"


def _p_column(run: StoredRun, modes: LanguageRun, measure: _Measure, rows: tuple[_Row, ...]) -> list[str]:
    """Of the main geometry, corrected over the labels; empty where the run has no permutation tests of the measure."""
    figures = [run.figures.get(row.key("p_family", method_of(modes.main))) for row in rows]
    values = [figure.value if figure and measure.array == "auroc" else None for figure in figures]
    return ["" if value is None else "< 0.001" if value < 0.001 else _number(value) for value in values]


def _titles(run: StoredRun, measure: _Measure, rows: tuple[_Row, ...]) -> list[str]:
    """Headings, with what the experiment says the paper reports for eNTK and PCA."""
    paper = {row.key: row.paper for row in run.about.expected if row.paper is not None}
    cells = [[paper.get(row.key(measure.array, method)) for method in (MODES, BASELINE)] for row in rows]
    return [
        row.title if entk is None or pca is None else f"{row.title} (paper: eNTK {_number(entk)}, PCA {_number(pca)})"
        for row, (entk, pca) in zip(rows, cells, strict=True)
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not measured"
