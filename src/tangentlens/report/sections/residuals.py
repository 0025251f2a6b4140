"""Residuals of the eigenpairs, and what the computation noted."""

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import notes_by_seeds, number, several
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import WORST_RESIDUAL


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = notes_by_seeds(run.notes)
    notes = (Table(("Seeds", "Note"), rows, "What the computation wants the reader to know"),) if rows else ()
    return (
        Lead(f"{_residual(run)} {_reservations(run)}"),
        *notes,
        Note(
            "The relative residual is ||Kv − λv|| / λ from one product with the kernel after the eigenpair was found."
        ),
    )


def _residual(run: StoredRun) -> str:
    values = [worst for record in run.seeds if (worst := record.figures.get(WORST_RESIDUAL)) is not None]
    if not values:
        return f"{labels.figure(WORST_RESIDUAL)}: not measured."
    return f"The worst relative residual of any eigenpair in {several(len(values), 'seed')} is {number(max(values))}."


def _reservations(run: StoredRun) -> str:
    if not run.notes:
        return "No seed noted a reservation."
    seeds = len({seed for seed, _ in run.notes})
    return f"{several(seeds, 'seed').capitalize()} noted {several(len(run.notes), 'reservation')}."


SECTION = Section("residuals", "Residuals of the eigenpairs", _build)
