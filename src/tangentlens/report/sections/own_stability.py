"""Whether other inputs of the same kind would give the same modes."""

from collections.abc import Sequence

from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import number, plain, several
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table

_NAME = "stability"
_LEAST = 0.9  # cosine from which a mode counts as found again
_NOTE = (
    "The inputs are split at random into halves, each half's modes are continued to all inputs by the kernel, and the "
    "two sets of functions are compared. Single: cosine with the most similar single mode of the other half. In the "
    "span: cosine with the span of all its leading modes. Modes whose eigenvalues lie close mix, so that only their "
    "space returns: the block is the modes between two gaps of the spectrum, its overlap the percent that the two "
    "halves' blocks share, beside that of random subspaces of the same dimension."
)
Row = dict[str, str | float | int]


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], _NAME).rows()
    columns = ("Kernel", "Mode", "Single", "In the span", "Block", "Block's overlap (random)", "Residual")
    table = Table(columns, [_cells(row) for row in rows], "Modes of two halves of the inputs", (1, 2, 3, 5, 6))
    return (Lead(_sentence(rows)), table, Note(_NOTE))


def _sentence(rows: Sequence[Row]) -> str:
    group = rows[0]["group"]
    own = [row for row in rows if row["group"] == group]
    single = sum(float(row["cosine"]) >= _LEAST for row in own)
    spanned = sum(float(row["reproducibility"]) >= _LEAST for row in own)
    return (
        f"Of the {several(len(own), 'leading mode')} of {_kernel(str(group))}, {single} have a single counterpart "
        f"among those of another half of the inputs (cosine at least {_LEAST:g}), and {spanned} lie in their span."
    )


def _kernel(group: str) -> str:
    return "the whole kernel" if group == "total" else f"the kernel of {group}"


def _cells(row: Row) -> tuple[str, ...]:
    first, last = int(row["space_first"]), int(row["space_last"])
    return (
        str(row["group"]), str(row["mode"]), plain(float(row["cosine"]), decimals=2),
        plain(float(row["reproducibility"]), decimals=2), str(first) if first == last else f"{first} to {last}",
        f"{number(float(row['space_overlap']), 'percent')} ({number(float(row['random_overlap']), 'percent')})",
        f"{float(row['residual']):.0e}",
    )  # fmt: skip


def _held(run: StoredRun) -> bool:
    return f"table.{_NAME}.group" in run.seeds[0].words


SECTION = Section("own-stability", "Would other inputs give the same modes?", _build, when=_held)
