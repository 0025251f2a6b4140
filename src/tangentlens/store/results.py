"""results.json: every figure of a run, flat dotted key -> value, interval, n, seeds, unit."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tangentlens.atomic import write_text
from tangentlens.errors import StoreError
from tangentlens.records import Figure


def write_results(path: Path, figures: Mapping[str, Figure]) -> None:
    """Write the figures with sorted keys; NaN and infinity become null.

    Raises:
        StoreError: the folder cannot be written.
    """
    entries = {key: _entry(figures[key]) for key in sorted(figures)}
    write_text(path, json.dumps(entries, indent=2, allow_nan=False) + "\n")


def read_results(path: Path) -> dict[str, Figure]:
    """The figures of a results.json; null comes back as None.

    Raises:
        StoreError: the file is missing or is not a results.json.
    """
    try:
        return {key: _figure(entry) for key, entry in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the figures of the run cannot be read: {error!r}",
            where=str(path),
            remedy="Run the experiment again: the folder is damaged or not a run.",
        ) from error


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


def _figure(entry: Mapping[str, Any]) -> Figure:
    bounds = entry["interval"]
    known = bounds is not None and None not in bounds
    return Figure(
        value=entry["value"],
        interval=(bounds[0], bounds[1]) if known else None,
        n=entry["n"],
        seeds=tuple(entry["seeds"]),
        unit=entry["unit"],
    )
