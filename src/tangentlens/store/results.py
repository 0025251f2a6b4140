"""results.json: every figure of a run, flat dotted key -> value, interval, n, seeds, unit."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tangentlens.errors import StoreError
from tangentlens.records import Figure
from tangentlens.store.aliases import current_keys
from tangentlens.store.atomic import write_text


@dataclass(frozen=True)
class StoredResults:
    """What a results.json holds.

    Attributes:
        figures: flat dotted key -> figure; null comes back as None.
        lacking: field of a figure -> how many figures were stored without it, by a version that did not know it.
    """

    figures: Mapping[str, Figure]
    lacking: Mapping[str, int]


class _Entry(BaseModel):
    """A figure as JSON has it; what an older version did not store has its default, what a newer one adds is left."""

    model_config = ConfigDict(strict=True, frozen=True)

    value: float | None
    interval: Annotated[list[float | None], Field(min_length=2, max_length=2)] | None = None
    n: int | None = None
    seeds: list[int] = []
    unit: str = ""


def write_results(path: Path, figures: Mapping[str, Figure]) -> None:
    """Write the figures with sorted keys; NaN and infinity become null.

    Raises:
        StoreError: the folder cannot be written.
    """
    entries = {key: _entry(figures[key]) for key in sorted(figures)}
    write_text(path, json.dumps(entries, indent=2, allow_nan=False) + "\n")


def read_results(path: Path) -> StoredResults:
    """The figures of a results.json, of any version.

    Raises:
        StoreError: the file is missing or is not a results.json.
    """
    try:
        entries = {key: _Entry.model_validate(each) for key, each in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:  # pydantic's errors are ValueErrors
        raise StoreError(
            f"the figures of the run cannot be read: {error!r}",
            where=str(path),
            remedy="Run the experiment again: the folder is damaged or not a run.",
        ) from error
    lacking = Counter(name for each in entries.values() for name in _Entry.model_fields.keys() - each.model_fields_set)
    figures = current_keys({key: _figure(each) for key, each in entries.items()})
    return StoredResults(figures, dict(sorted(lacking.items())))


def finite(value: float | None) -> float | None:
    """The value, or None where it is NaN or infinite and JSON has no number for it."""
    return value if value is not None and math.isfinite(value) else None


def _entry(figure: Figure) -> dict[str, Any]:
    bounds = None if figure.interval is None else [finite(bound) for bound in figure.interval]
    return {
        "value": finite(figure.value),
        "interval": bounds,
        "n": figure.n,
        "seeds": list(figure.seeds),
        "unit": figure.unit,
    }


def _figure(entry: _Entry) -> Figure:
    low, high = entry.interval or (None, None)
    known = None if low is None or high is None else (low, high)
    return Figure(entry.value, known, entry.n, tuple(entry.seeds), entry.unit)
