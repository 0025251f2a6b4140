"""Whether other inputs of the same kind would give the same modes."""

from collections.abc import Sequence

from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import number, several
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table

_NAME = "stability"
_LEAST = 0.9  # cosine from which a mode counts as found again
_NOTE = (
    "The inputs are split at random into halves, each half's modes are continued to all inputs by the kernel, and the "
    "two sets of functions are compared. Single: cosine with the most similar single mode of the other half. In the "
    "span: cosine with the span of all its leading modes. Modes whose eigenvalues lie close mix, so that only their "
    "space returns: the block is the modes between two gaps of the spectrum, its overlap the percent that the two "
    "halves' blocks share, beside that of random subspaces of the same dimension. The run's table stability holds the "
    "kernels of single groups too."
)
Row = dict[str, str | float | int]


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], _NAME).rows()
    own = [row for row in rows if row["group"] == rows[0]["group"]]
    columns = ("Mode", "Single", "In the span", "Block", "Block's overlap (random)", "Residual")
    table = Table(columns, [_cells(row) for row in own], "Modes of two halves of the inputs", (1, 2, 4, 5))
    return (Lead(_sentence(own)), table, Note(_NOTE))


def _sentence(rows: Sequence[Row]) -> str:
    single = sum(float(row["cosine"]) >= _LEAST for row in rows)
    spanned = sum(float(row["reproducibility"]) >= _LEAST for row in rows)
    return (
        f"Of the {several(len(rows), 'leading mode')} of {_kernel(str(rows[0]['group']))}, {single} have a single "
        f"counterpart among those of another half of the inputs (cosine at least {_LEAST:g}), and {spanned} lie in "
        "their span."
    )


def _kernel(group: str) -> str:
    return "the whole kernel" if group == "total" else f"the kernel of {group}"


def _cells(row: Row) -> tuple[str, ...]:
    first, last = int(row["space_first"]), int(row["space_last"])
    return (
        str(row["mode"]), f"{float(row['cosine']):.2f}",
        f"{float(row['reproducibility']):.2f}", str(first) if first == last else f"{first} to {last}",
        f"{number(float(row['space_overlap']), 'percent')} ({number(float(row['random_overlap']), 'percent')})",
        f"{float(row['residual']):.0e}",
    )  # fmt: skip


def _held(run: StoredRun) -> bool:
    return bool(run.seeds) and f"table.{_NAME}.group" in run.seeds[0].words


SECTION = Section("stability", "Would other inputs give the same modes?", _build, when=_held)
