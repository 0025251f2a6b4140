"""The modes of a user's model beside other ways of finding its features, each where it does best."""

import math
from collections.abc import Sequence

from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import listing
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table

_NAME = "baselines.means"
_METRICS = {
    "auroc": ("Mean AUROC over the binary features", 2),
    "r2": ("Mean R² over the real features", 2),
    "overlap": ("Mean percent of the spaces inside the method's span", 1),
}
_WORDS = {
    "reference": "",
    "holds": "kernel scores higher",
    "undecided": "not separable",
    "does not hold": "kernel does not score higher",
}
_NOTE = (
    "Every method gives at most as many functions of the input as the kernel has modes; component and sign are chosen "
    "on one half of the inputs, scores are of the other. A method with many sites stands at the site where it scores "
    "best on that other half, which favours it. Kernel less it: the difference of the two scores on the same inputs, "
    "with its 95 % interval; p is corrected over all methods and sites (Holm). Fitted to: labels that the method sees."
)
Row = dict[str, str | float | int]


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], _NAME).rows()
    blocks: list[Block] = []
    for metric in _METRICS:
        best = _best([row for row in rows if row["metric"] == metric and math.isfinite(float(row["score"]))])
        if best:
            blocks += [Lead(_sentence(metric, best)), _table(metric, best)]
    return (*blocks, Note(_NOTE))


def _best(rows: Sequence[Row]) -> list[Row]:
    """The best row of every method, best method first."""
    ordered = sorted(rows, key=lambda row: -float(row["score"]))
    best: dict[str, Row] = {}
    for row in ordered:
        best.setdefault(str(row["method"]), row)
    return list(best.values())


def _sentence(metric: str, rows: Sequence[Row]) -> str:
    """Which methods without labels score above the kernel and which below, as the verdicts say."""
    title, decimals = _METRICS[metric]
    own = next((row for row in rows if row["verdict"] == "reference"), None)
    if own is None:
        return f"{title}: the kernel's modes have none."
    rivals = [row for row in rows if row["sees"] == "nothing" and row is not own]
    words = [f"{title}: {float(own['score']):.{decimals}f} for the kernel's modes."]
    for verdict, what in (
        ("holds", "The kernel scores higher than {}."),
        ("undecided", "It does not separate from {}."),
        ("does not hold", "It does not score higher than {}."),
    ):
        names = [str(row["method"]) for row in rivals if row["verdict"] == verdict]
        words += [what.format(listing(names))] if names else []
    return " ".join(words)


def _table(metric: str, rows: Sequence[Row]) -> Table:
    title, decimals = _METRICS[metric]
    cells = [
        (
            str(row["method"]), _where(str(row["where"])), "" if row["sees"] == "nothing" else str(row["sees"]),
            _spread(row, ("score", "low", "high"), decimals),
            _spread(row, ("difference", "difference_low", "difference_high"), decimals),
            _WORDS.get(str(row["verdict"]), str(row["verdict"])),
        )
        for row in rows
    ]  # fmt: skip
    return Table(("Method", "Where", "Fitted to", "Score", "Kernel less it", "Result"), cells, title, (3, 4))


def _where(place: str) -> str:
    return {"total": "all parameters", "inputs": "the inputs", "loss": "the loss"}.get(place, place)


def _spread(row: Row, columns: tuple[str, str, str], decimals: int) -> str:
    value, low, high = (float(row[column]) for column in columns)
    if not math.isfinite(value):
        return ""
    return f"{value:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def _held(run: StoredRun) -> bool:
    return bool(run.seeds) and f"table.{_NAME}.method" in run.seeds[0].words


SECTION = Section("methods", "Against other methods", _build, when=_held)
