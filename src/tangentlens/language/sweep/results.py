"""Finished results of a sweep: the basis, the modes of every group, the last stage that is done.

In a folder they stay after the call, and an interrupted sweep goes on from them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.sweep.approximate_modes import ApproximateModes
from tangentlens.language.sweep.scratch import storage_error
from tangentlens.records import Eigenpairs
from tangentlens.store.atomic import write_bytes, write_text

_STATE = "state.json"
_ERRORS = ("outside", "outside_error", "left_out")
_PAIRS = ("values", "vectors", "residuals", "converged")


class Stored(NamedTuple):
    """Named tensors, with words about them."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


@runtime_checkable
class Store(Protocol):
    """Holds named results and a state."""

    @property
    def state(self) -> Mapping[str, Any]:
        """Seconds, and the last stage that is done."""

    def note(self, **state: Any) -> None:
        """Replace parts of the state."""

    def write(self, name: str, stored: Stored) -> None:
        """Hold a result."""

    def read(self, name: str) -> Stored | None:
        """A result; None where there is none of that name."""


@final
class MemoryStore:
    """A store that ends with the call."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self._stored: dict[str, Stored] = {}

    def note(self, **state: Any) -> None:
        self.state |= state

    def write(self, name: str, stored: Stored) -> None:
        self._stored[name] = stored

    def read(self, name: str) -> Stored | None:
        return self._stored.get(name)


@final
class FolderStore:
    """A store of safetensors files and one JSON file for the state.

    Args:
        folder: is made where it does not exist.
        fingerprint: of everything that the sweep depends on.

    Raises:
        InvalidInputError: the folder holds a sweep of another model or batch, of other options or another format.
        StoreError: the folder cannot be written, or a file in it is damaged.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        path = folder / _STATE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.state: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise storage_error(folder, error) from error
        if self.state and self.state.get("fingerprint") != fingerprint:
            raise InvalidInputError(
                "the folder holds a sweep of another model, other windows, other options or an older version",
                where=str(folder),
                remedy="Give another folder, or remove it.",
            )
        if not self.state:
            self.note(fingerprint=fingerprint, seconds=0.0, done=0, shape=None, dtype=None)

    def note(self, **state: Any) -> None:
        self.state |= state
        write_text(self.folder / _STATE, json.dumps(self.state))

    def write(self, name: str, stored: Stored) -> None:
        # copies, since a recorder may return a tensor of the modes, and safetensors refuses shared memory
        tensors = {
            key: tensor.cpu().clone(memory_format=torch.contiguous_format) for key, tensor in stored.tensors.items()
        }
        write_bytes(self._path(name), save(tensors, dict(stored.metadata)))

    def read(self, name: str) -> Stored | None:
        path = self._path(name)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as opened:
                return Stored(load_file(path), opened.metadata() or {})
        except (OSError, SafetensorError) as error:
            raise storage_error(path, error) from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


@dataclass(frozen=True)
class ResumePoint:
    """Stages that are done, with shape and dtype of the gradients at the last one's input."""

    done: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@final
class Results:
    """Basis, modes and progress of a sweep, in a store.

    Args:
        store: may hold results of an earlier call with the same arguments.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spent, self._began = store.state.get("seconds", 0.0), time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the sweep took so far; of an interrupted call, up to what it finished last."""
        return float(self._spent + time.perf_counter() - self._began)

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where an earlier call stopped; None at the beginning."""
        state = self._store.state
        if not state.get("done"):
            return None
        return ResumePoint(state["done"], tuple(state["shape"]), getattr(torch, state["dtype"]))

    def commit(self, place: int, gradient: Tensor) -> None:
        """Note that all factors of stage `place` have been used; `gradient` are the gradients at its input."""
        dtype = str(gradient.dtype).removeprefix("torch.")
        self._store.note(seconds=self.seconds, done=place + 1, shape=list(gradient.shape), dtype=dtype)

    @property
    def basis(self) -> tuple[Tensor, Tensor] | None:
        """The basis, and the error of every window's S along it; None where it was not found yet."""
        found = self._store.read("basis")
        return None if found is None else (found.tensors["basis"], found.tensors["left_out"])

    def keep_basis(self, basis: Tensor, left_out: Tensor) -> None:
        """Keep both."""
        self._store.write("basis", Stored({"basis": basis, "left_out": left_out}, {}))
        self._store.note(seconds=self.seconds)

    def modes(self, group: str) -> ApproximateModes | None:
        """The modes of a group; None where they were not found yet."""
        found = self._store.read(f"modes-{group}")
        return None if found is None else _modes(found)

    def keep_modes(self, group: str, modes: ApproximateModes) -> None:
        """Keep them."""
        self._store.write(f"modes-{group}", _stored(modes))
        self._store.note(seconds=self.seconds)


def _stored(modes: ApproximateModes) -> Stored:
    tensors = {name: getattr(modes.pairs, name) for name in _PAIRS}
    tensors |= {name: getattr(modes, name) for name in _ERRORS}
    metadata = {"products": str(modes.pairs.products)}
    if modes.check is not None:
        metadata["check"] = repr(modes.check)
    return Stored({**tensors, **modes.statistics}, metadata)


def _modes(stored: Stored) -> ApproximateModes:
    tensors, metadata = dict(stored.tensors), stored.metadata
    named = {name: tensors.pop(name) for name in _PAIRS}
    pairs = Eigenpairs(**named, products=int(metadata["products"]))  # type: ignore[arg-type]
    outside, error, left_out = (tensors.pop(name) for name in _ERRORS)
    check = float(metadata["check"]) if "check" in metadata else None
    return ApproximateModes(pairs, outside, error, left_out, check, tensors)
