"""Scores and shares of a user's features beside what null models give."""

from collections.abc import Sequence

from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import several
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table

_NAME = "nulls"
_REAL = "none"
_NOTE = (
    "Each feature is scored again where it cannot be held: by a network trained on permuted labels, where there is "
    "one; by the network on inputs whose columns are permuted independently; as a random function of the inputs; and "
    "in random subspaces with the kernel's eigenvalues. A cell holds the mean score over the draws and the percent of "
    "the leading modes' kernel along the feature. Scores: AUROC, R², or percent of a space."
)
Row = dict[str, str | float | int]


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], _NAME).rows()
    nulls = [name for name in dict.fromkeys(str(row["null"]) for row in rows) if name != _REAL]
    features = list(dict.fromkeys(str(row["feature"]) for row in rows))
    of = {(str(row["feature"]), str(row["null"])): row for row in rows}
    cells = [
        (feature, *(_cell(of.get((feature, null))) for null in (_REAL, *nulls))) for feature in features
    ]  # fmt: skip
    columns = ("Feature", "This network", *(name.capitalize() for name in nulls))
    table = Table(columns, cells, "Score and, after the comma, share of the kernel", tuple(range(1, len(columns))))
    return (Lead(_sentence(features, nulls, of)), table, Note(_NOTE))


def _sentence(features: Sequence[str], nulls: Sequence[str], of: dict[tuple[str, str], Row]) -> str:
    above = sum(
        all(
            float(of[feature, _REAL]["score"]) > float(of[feature, null]["score_high"])
            for null in nulls
            if (feature, null) in of
        )
        for feature in features
    )
    return (
        f"{above} of {several(len(features), 'feature')} score higher in this network than in any draw of any of "
        f"{several(len(nulls), 'null model')}."
    )


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    decimals = 1 if row["metric"] == "overlap" else 2
    return f"{float(row['score']):.{decimals}f}, {float(row['share']):.1f} %"


def _held(run: StoredRun) -> bool:
    return bool(run.seeds) and f"table.{_NAME}.null" in run.seeds[0].words


SECTION = Section("null-models", "Under null models", _build, when=_held)
