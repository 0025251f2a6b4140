"""Where the time went."""

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import duration, interval, number
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import RankedCost


def _build(run: StoredRun) -> tuple[Block, ...]:
    stages = {
        key: figure
        for key, figure in run.figures.items()
        if figure.unit == "seconds" and figure.value is not None and RankedCost.parse(key) is None
    }
    if not run.seeds:
        return (Note("Not shown: the run holds no seed."),)
    each = sum(record.seconds for record in run.seeds) / len(run.seeds)
    spent = sum(figure.value or 0.0 for figure in stages.values())
    total = each if spent <= each else 0.0  # stages that the seeds share are no part of one seed's time
    rows = [
        (labels.figure(key), number(figure.value, "seconds"), interval(figure), _share(figure.value, total))
        for key, figure in sorted(stages.items(), key=lambda item: -(item[1].value or 0))
    ]
    if total:
        rows.append(("Everything else", duration(each - spent), "", _share(each - spent, total)))
    note = () if total else (Note("Seeds that are trained together share that time: each counts all of it."),)
    return (
        Lead(_sentence(run, each)),
        Table(("Stage", "Time of a seed", "95 % interval", "Share"), rows, "Wall time by stage", numeric=(1, 2, 3)),
        *note,
    )


def _sentence(run: StoredRun, each: float) -> str:
    threads, processors = run.environment.get("threads"), run.environment.get("cpu_count")
    often = f", the mean of {len(run.seeds)}" if len(run.seeds) > 1 else ""
    return f"A seed took {duration(each)}{often}; threads: {threads}, processors: {processors}."


def _share(value: float | None, total: float) -> str:
    return f"{100 * value / total:.0f} %" if value is not None and total > 0 else ""


SECTION = Section("cost", "Cost", _build)
