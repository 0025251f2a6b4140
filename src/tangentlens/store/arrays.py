"""arrays/seed-0000.safetensors: the arrays of one seed, with its figures and notes in the metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tangentlens.errors import StoreError
from tangentlens.records import Measurement
from tangentlens.store.atomic import write_bytes
from tangentlens.store.results import finite

_KEY = "tangentlens"


@dataclass(frozen=True)
class SeedRecord:
    """One stored seed, without its arrays, which are read from `path` when somebody asks.

    Attributes:
        seed: the seed.
        figures: flat dotted key -> number; None where the seed has no such number.
        units: flat dotted key -> unit.
        notes: sentences for the reader.
        seconds: wall time of the measurement.
        names: names of the arrays in the file.
        path: the safetensors file.
    """

    seed: int
    figures: Mapping[str, float | None]
    units: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: float
    names: frozenset[str]
    path: Path

    def array(self, name: str) -> np.ndarray:
        """The array called `name`.

        Raises:
            StoreError: the file has no such array, or is damaged.
        """
        try:
            with safe_open(self.path, framework="np") as stored:
                return np.asarray(stored.get_tensor(name))
        except (OSError, SafetensorError) as error:
            raise _damaged(self.path, error) from error


def seed_path(folder: Path, seed: int) -> Path:
    """Where the arrays of a seed lie in a run folder."""
    return folder / "arrays" / f"seed-{seed:04d}.safetensors"


def write_measurement(folder: Path, measurement: Measurement, seconds: float) -> Path:
    """Store one seed of a run, whole or not at all.

    Args:
        folder: the run folder; it has an `arrays` folder.
        measurement: what the seed gave.
        seconds: wall time it took.

    Raises:
        StoreError: the folder cannot be written.
    """
    described = {
        "schema": 1,
        "seed": measurement.seed,
        "figures": {key: finite(float(value)) for key, value in measurement.figures.items()},
        "units": dict(measurement.units),
        "notes": list(measurement.notes),
        "seconds": seconds,
    }
    tensors = {name: _own(array) for name, array in measurement.arrays.items()}
    path = seed_path(folder, measurement.seed)
    write_bytes(path, save(tensors, metadata={_KEY: json.dumps(described, allow_nan=False)}))
    return path


def read_seed(path: Path) -> SeedRecord:
    """The record of a stored seed; its arrays stay on disk.

    Raises:
        StoreError: the file is missing, damaged, or was not written by `write_measurement`.
    """
    try:
        with safe_open(path, framework="np") as stored:
            described: dict[str, Any] = json.loads((stored.metadata() or {})[_KEY])
            names = frozenset(stored.keys())
        return SeedRecord(
            seed=described["seed"],
            figures=described["figures"],
            units=described["units"],
            notes=tuple(described["notes"]),
            seconds=described["seconds"],
            names=names,
            path=path,
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def read_seeds(folder: Path) -> tuple[SeedRecord, ...]:
    """All seeds stored in a run folder, in the order of their numbers."""
    records = (read_seed(path) for path in (folder / "arrays").glob("seed-*.safetensors"))
    return tuple(sorted(records, key=lambda record: record.seed))


def _own(array: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares memory with no other array."""
    return array.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"the arrays cannot be read: {error}", where=str(path), remedy="Delete this file and resume the run (--resume)."
    )
