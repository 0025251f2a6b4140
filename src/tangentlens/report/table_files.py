"""The tables of a report, and all figures unrounded, as files for papers and spreadsheets."""

from collections.abc import Iterator
from pathlib import Path

from tangentlens.records import Figure
from tangentlens.report.blocks import Table
from tangentlens.report.sections import SECTIONS
from tangentlens.report.table_formats import FORMATS
from tangentlens.store import StoredRun
from tangentlens.store.atomic import storing, write_text


def write_tables(run: StoredRun, folder: Path) -> tuple[Path, ...]:
    """Write every table of a run as CSV, Markdown and LaTeX.

    Args:
        run: as the report would show it.
        folder: made if it is missing; files of the same names are replaced.

    Returns:
        the files: results (every figure, unrounded) and one for each table of each section, named by the section.

    Raises:
        StoreError: the folder cannot be written.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables_of(run).items():
        for ending, formatted in FORMATS.items():
            path = folder / f"{name}.{ending}"
            write_text(path, formatted(table))
            written.append(path)
    return tuple(written)


def tables_of(run: StoredRun) -> dict[str, Table]:
    """Name of the file -> table; a section's second table ends in -2."""
    return {"results": _results(run), **dict(_by_section(run))}


def _by_section(run: StoredRun) -> Iterator[tuple[str, Table]]:
    for section in SECTIONS:
        if section.belongs_to(run):
            tables = [block for block in section.blocks(run) if isinstance(block, Table)]
            for place, table in enumerate(tables, start=1):
                yield section.name if place == 1 else f"{section.name}-{place}", table


def _results(run: StoredRun) -> Table:
    rows = [_row(key, figure) for key, figure in sorted(run.figures.items())]
    columns = ("figure", "value", "low", "high", "n", "seeds", "unit")
    return Table(columns, rows, "All figures of the run, with their 95 % intervals", numeric=(1, 2, 3, 4))


def _row(key: str, figure: Figure) -> tuple[str, ...]:
    low, high = figure.interval or (None, None)
    seeds = " ".join(map(str, figure.seeds))
    return (key, _unrounded(figure.value), _unrounded(low), _unrounded(high), _unrounded(figure.n), seeds, figure.unit)


def _unrounded(value: float | int | None) -> str:
    return "" if value is None else repr(value)
