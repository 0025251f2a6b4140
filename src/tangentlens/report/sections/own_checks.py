"""What the run checked of itself."""

from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import listing, several
from tangentlens.store import StoredRun
from tangentlens.store.tables import read_table


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = read_table(run.seeds[0], "checks").rows()
    failed = [str(row["check"]) for row in rows if not row["passed"]]
    sentence = f"{several(len(rows), 'check')}, all passed." if not failed else f"Failed: {listing(failed)}."
    cells = [
        (
            str(row["check"]),
            f"{float(row['value']):.1e}" if row["value"] else "0",
            f"{float(row['limit']):.0e}" if row["limit"] else "0",
            "passed" if row["passed"] else "failed",
        )
        for row in rows
    ]
    return (
        Lead(sentence),
        Table(("Check", "Error", "Limit", "Result"), cells, "Checks of this run", (1, 2)),
        Note(
            "Errors are relative. Adjointness compares u · (K v) with (K^T u) · v for a kernel between two sets of "
            "examples, one by forward, the other by reverse differentiation. The model is left as found where "
            "parameters, buffers, modes and hooks have the same SHA-256 before and after."
        ),
    )


def _held(run: StoredRun) -> bool:
    return bool(run.seeds) and "table.checks" in run.seeds[0].words


SECTION = Section("checks", "Checks", _build, when=_held)
