"""What every setting's measurement is put together from: figures with units, arrays, the record of one seed."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from tangentlens.progress import Progress
from tangentlens.records import Measurement

Subject = TypeVar("Subject")

# key -> (value, unit)
Figures = dict[str, tuple[float, str]]
Arrays = dict[str, Tensor]
# key -> 95 % interval inside one seed
Intervals = dict[str, tuple[float, float]]


def measured_in_parts(
    seed: int,
    subject: Subject,
    parts: Sequence[Callable[[Subject], tuple[Figures, Arrays]]],
    stage: str,
    progress: Progress,
) -> Measurement:
    """The record of one seed from parts that each give figures and arrays of one subject; progress counts them."""
    figures: Figures = {}
    arrays: Arrays = {}
    progress(stage, 0, len(parts))
    for done, part in enumerate(parts, start=1):
        more_figures, more_arrays = part(subject)
        figures |= more_figures
        arrays |= more_arrays
        progress(stage, done, len(parts))
    return measurement(seed, figures, arrays, ())


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
