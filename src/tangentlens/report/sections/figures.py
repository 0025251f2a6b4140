"""Every figure of results.json."""

from tangentlens.report.blocks import Block, Note, Section, Table
from tangentlens.report.numbers import interval, number, observations
from tangentlens.store import StoredRun


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = [
        (key, number(figure.value, figure.unit), interval(figure), observations(figure), figure.unit)
        for key, figure in sorted(run.figures.items())
    ]
    return (
        Table(("Figure", "Mean", "95 % interval", "n", "Unit"), rows, "All figures of the run", numeric=(1, 2, 3)),
        Note(
            "The interval is mean ± t s / √n with Student's t, for a share Wilson's, over the seeds that have the "
            "figure (n). "
            "results.json holds the same numbers unrounded, with their seeds."
        ),
    )


SECTION = Section("figures", "Every figure", _build)
