"""The arrays of one seed, with its figures, notes and words in the metadata.

arrays/seed-0000.safetensors is what the setting measured, arrays/evidence-0000.safetensors the evidence added to it;
whoever reads a seed sees both as one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from tangentlens.errors import NotStoredError, StoreError
from tangentlens.records import Measurement
from tangentlens.store.aliases import current_keys
from tangentlens.store.atomic import write_bytes
from tangentlens.store.results import finite

_KEY = "tangentlens"


@dataclass(frozen=True)
class SeedRecord:
    """One stored seed, without its arrays, which are read from their files when somebody asks.

    Attributes:
        seed: the seed.
        figures: flat dotted key -> number; None where the seed has no such number.
        units: flat dotted key -> unit.
        notes: sentences for the reader.
        seconds: wall time of the measurement.
        sources: name of an array -> the safetensors file that holds it.
        words: name -> strings.
        intervals: key of a figure -> interval inside the seed.
    """

    seed: int
    figures: Mapping[str, float | None]
    units: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: float
    sources: Mapping[str, Path]
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Names of the arrays."""
        return frozenset(self.sources)

    def array(self, name: str) -> np.ndarray:
        """The array called `name`.

        Raises:
            NotStoredError: there is no such array.
            StoreError: its file is damaged.
        """
        if name not in self.sources:
            raise NotStoredError(f"the array {name} of seed {self.seed}")
        path = self.sources[name]
        try:
            with safe_open(path, framework="np") as stored:
                return np.asarray(stored.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise _damaged(path, error) from error

    def extended(self, addition: "SeedRecord") -> "SeedRecord":
        """This seed with what was measured of it later; where both have a figure or an array, the later one counts."""
        return SeedRecord(
            seed=self.seed,
            figures={**self.figures, **addition.figures},
            units={**self.units, **addition.units},
            notes=(*self.notes, *addition.notes),
            seconds=self.seconds + addition.seconds,
            sources={**self.sources, **addition.sources},
            words={**self.words, **addition.words},
            intervals={**self.intervals, **addition.intervals},
        )


def seed_path(folder: Path, seed: int) -> Path:
    """Where the measurement of a seed lies in a run folder."""
    return folder / "arrays" / f"seed-{seed:04d}.safetensors"


def evidence_path(folder: Path, seed: int) -> Path:
    """Where the evidence added to a seed lies in a run folder."""
    return folder / "arrays" / f"evidence-{seed:04d}.safetensors"


def write_measurement(folder: Path, measurement: Measurement, seconds: float) -> Path:
    """Store one seed of a run, whole or not at all.

    Args:
        folder: the run folder; it has an `arrays` folder.
        measurement: what the seed gave.
        seconds: wall time it took.

    Raises:
        StoreError: the folder cannot be written.
    """
    return _write(seed_path(folder, measurement.seed), measurement, seconds)


def write_evidence(folder: Path, measurement: Measurement, seconds: float) -> Path:
    """Store the evidence on one seed beside its measurement; as `write_measurement`."""
    return _write(evidence_path(folder, measurement.seed), measurement, seconds)


def write_part(path: Path, measurement: Measurement) -> Path:
    """Store a part of a run that is not complete, to go on from; as `write_measurement`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return _write(path, measurement, 0.0)


def _write(path: Path, measurement: Measurement, seconds: float) -> Path:
    described = {
        "schema": 1,
        "seed": measurement.seed,
        "figures": {key: finite(float(value)) for key, value in measurement.figures.items()},
        "units": dict(measurement.units),
        "notes": list(measurement.notes),
        "words": {name: list(strings) for name, strings in measurement.words.items()},
        "intervals": {key: [low, high] for key, (low, high) in measurement.intervals.items()},
        "seconds": seconds,
    }
    tensors = {name: _own(array) for name, array in measurement.arrays.items()}
    write_bytes(path, save(tensors, metadata={_KEY: json.dumps(described, allow_nan=False)}))
    return path


def read_seed(path: Path) -> SeedRecord:
    """The record in one file; its arrays stay on disk.

    Raises:
        StoreError: the file is missing, damaged, or was not written by this module.
    """
    try:
        with safe_open(path, framework="np") as stored:
            described: dict[str, Any] = json.loads((stored.metadata() or {})[_KEY])
            sources = dict.fromkeys(stored.keys(), path)
        return SeedRecord(
            seed=described["seed"],
            figures=current_keys(described["figures"]),
            units=current_keys(described["units"]),
            notes=tuple(described["notes"]),
            seconds=described["seconds"],
            sources=sources,
            words={name: tuple(strings) for name, strings in described.get("words", {}).items()},
            intervals=current_keys({key: (low, high) for key, (low, high) in described.get("intervals", {}).items()}),
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def read_measurement(path: Path) -> Measurement:
    """What was stored in one file, arrays and all; a figure that the seed does not have is NaN again.

    Raises:
        StoreError: as `read_seed`.
    """
    record = read_seed(path)
    try:
        arrays: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    figures = {key: math.nan if value is None else value for key, value in record.figures.items()}
    return Measurement(record.seed, figures, record.units, arrays, record.notes, record.words, record.intervals)


def read_seeds(folder: Path) -> tuple[SeedRecord, ...]:
    """All seeds stored in a run folder with their evidence, in the order of their numbers."""
    measured = (read_seed(path) for path in (folder / "arrays").glob("seed-*.safetensors"))
    records = (_with_evidence(folder, record) for record in measured)
    return tuple(sorted(records, key=lambda record: record.seed))


def _with_evidence(folder: Path, record: SeedRecord) -> SeedRecord:
    path = evidence_path(folder, record.seed)
    return record.extended(read_seed(path)) if path.exists() else record


def _own(array: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares memory with no other array."""
    return array.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"the arrays cannot be read: {error}", where=str(path), remedy="Delete this file and resume the run (--resume)."
    )
