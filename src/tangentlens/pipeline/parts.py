"""Parts of a run: the findings of each step, stored when it is done, so that an interrupted run goes on from them."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tangentlens.analysis.findings import Findings, measurement, merged
from tangentlens.pipeline.summary import summarise
from tangentlens.records import Measurement
from tangentlens.report import build_report
from tangentlens.store import Draft, complete
from tangentlens.store.about import About, write_about
from tangentlens.store.arrays import read_measurement, read_seeds, write_measurement, write_part
from tangentlens.store.environment import write_environment
from tangentlens.store.results import write_results


def done_once(draft: Draft, name: str, seed: int, make: Callable[[], Findings]) -> Findings:
    """The findings of one part: made and stored with its seconds, or read where an interrupted run holds them."""
    path = part_path(draft, name)
    if path.exists():
        stored = read_measurement(path)
        figures = {key: (value, stored.units.get(key, "")) for key, value in stored.figures.items()}
        return Findings(figures, dict(stored.arrays), dict(stored.intervals), stored.words, stored.notes)
    start = time.perf_counter()
    found = make()
    seconds = {f"seconds.{name.replace(' ', '_')}": (time.perf_counter() - start, "seconds")}
    whole = merged((found, Findings(seconds)))
    write_part(path, measured(seed, whole, whole.notes))
    return whole


def part_path(draft: Draft, name: str) -> Path:
    """Where a part of a draft is stored."""
    return draft.partial / "parts" / f"{name.replace(' ', '-')}.safetensors"


def measured(seed: int, found: Findings, notes: tuple[str, ...]) -> Measurement:
    """Findings as the record of a seed."""
    return measurement(seed, found.figures, found.arrays, notes, found.words, found.intervals)


def finish(draft: Draft, title: str, record: Measurement, seconds: float, *scratch: str) -> Path:
    """Store the one seed of an analysis, its figures and its page; returns the complete run's folder.

    Args:
        draft: of the run.
        title: of the page.
        record: of the seed.
        seconds: that it took.
        scratch: folders of the draft that only an interrupted run needs.
    """
    write_measurement(draft.partial, record, seconds)
    for folder in ("parts", *scratch):
        shutil.rmtree(draft.partial / folder, ignore_errors=True)
    write_results(draft.partial / "results.json", summarise(read_seeds(draft.partial)))
    write_environment(draft.partial, {**draft.environment, "seconds": seconds})
    write_about(draft.partial, About(title, (), ()))
    build_report(draft.partial)
    return complete(draft)
