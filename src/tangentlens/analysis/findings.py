"""What every setting's measurement is put together from: figures with units, arrays, the record of one seed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from tangentlens.progress import Progress
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import Key

Subject = TypeVar("Subject")

# key -> (value, unit)
Figures = dict[str, tuple[float, str]]
Arrays = dict[str, Tensor]
# key -> 95 % interval inside one seed
Intervals = dict[str, tuple[float, float]]


def keyed(found: Mapping[Key, float]) -> Figures:
    """Figures by their keys, each with its key's unit."""
    return {str(key): (value, key.unit) for key, value in found.items()}


@dataclass(frozen=True)
class Findings:
    """What one part of a measurement found.

    Attributes:
        figures: key -> (value, unit).
        arrays: name -> tensor.
        intervals: key -> 95 % interval inside one seed.
        words: name -> strings.
        notes: sentences for the reader.
    """

    figures: Figures = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def merged(parts: Iterable[Findings]) -> Findings:
    """All that some parts found; of what two found the later counts."""
    figures: Figures = {}
    arrays: Arrays = {}
    intervals: Intervals = {}
    words: dict[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()
    for part in parts:
        figures |= part.figures
        arrays |= part.arrays
        intervals |= part.intervals
        words |= part.words
        notes += part.notes
    return Findings(figures, arrays, intervals, words, notes)


def measured_in_parts(
    seed: int,
    subject: Subject,
    parts: Sequence[Callable[[Subject], Findings]],
    stage: str,
    progress: Progress,
    notes: tuple[str, ...] = (),
) -> Measurement:
    """The record of one seed from parts that each find something of one subject; progress counts them."""
    progress(stage, 0, len(parts))
    found = []
    for done, part in enumerate(parts, start=1):
        found.append(part(subject))
        progress(stage, done, len(parts))
    whole = merged(found)
    return measurement(seed, whole.figures, whole.arrays, notes, intervals=whole.intervals)


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
