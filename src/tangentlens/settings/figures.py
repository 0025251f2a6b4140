"""What every setting's measurement is put together from: figures with units, arrays, the record of one seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from tangentlens.figure_keys import FigureKey
from tangentlens.progress import Progress
from tangentlens.records import Measurement

Subject = TypeVar("Subject")

# key -> (value, unit)
Figures = dict[str, tuple[float, str]]
Arrays = dict[str, Tensor]
# key -> 95 % interval inside one seed
Intervals = dict[str, tuple[float, float]]


def keyed(found: Mapping[FigureKey, float]) -> Figures:
    """Figures by their keys, each with its key's unit."""
    return {str(key): (value, key.unit) for key, value in found.items()}


@dataclass(frozen=True)
class Findings:
    """What one part of a measurement found."""

    figures: Figures
    arrays: Arrays = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)


def measured_in_parts(
    seed: int,
    subject: Subject,
    parts: Sequence[Callable[[Subject], Findings]],
    stage: str,
    progress: Progress,
    notes: tuple[str, ...] = (),
) -> Measurement:
    """The record of one seed from parts that each find something of one subject; progress counts them."""
    figures: Figures = {}
    arrays: Arrays = {}
    intervals: Intervals = {}
    progress(stage, 0, len(parts))
    for done, part in enumerate(parts, start=1):
        found = part(subject)
        figures |= found.figures
        arrays |= found.arrays
        intervals |= found.intervals
        progress(stage, done, len(parts))
    return measurement(seed, figures, arrays, notes, intervals=intervals)


def measurement(
    seed: int,
    figures: Figures,
    arrays: Arrays,
    notes: tuple[str, ...],
    words: Mapping[str, tuple[str, ...]] | None = None,
    intervals: Intervals | None = None,
) -> Measurement:
    """The record of one seed, the units split off the figures."""
    return Measurement(
        seed=seed,
        figures={key: value for key, (value, _) in figures.items()},
        units={key: unit for key, (_, unit) in figures.items()},
        arrays=arrays,
        notes=notes,
        words=words or {},
        intervals=intervals or {},
    )
