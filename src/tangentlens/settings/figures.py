"""What every setting's measurement is put together from: figures with units, arrays, the record of one seed."""

from torch import Tensor

from tangentlens.records import Measurement

# key -> (value, unit)
Figures = dict[str, tuple[float, str]]
Arrays = dict[str, Tensor]


def measurement(seed: int, figures: Figures, arrays: Arrays, notes: tuple[str, ...]) -> Measurement:
    """The record of one seed, the units split off the figures."""
    return Measurement(
        seed=seed,
        figures={key: value for key, (value, _) in figures.items()},
        units={key: unit for key, (_, unit) in figures.items()},
        arrays=arrays,
        notes=notes,
    )
