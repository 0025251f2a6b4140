"""Where a sweep keeps what is large and what is hard-won: in memory, or in a folder from which it can go on.

The gradients at the boundary of two stages are R N T d numbers (4.4 GB for 1,024 windows of 64 tokens, 26 directions
and d = 640), and the inputs of all stages N T d each. In a folder they are files mapped into memory, which the
operating system may drop and read again, and an interrupted sweep goes on from the last boundary that was finished.
The factors of one stage, R N T numbers for every output of its weights, follow them where memory is short.
"""

import hashlib
import json
import logging
import mmap
import os
import tempfile
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.kernels.budget import free_memory
from tangentlens.language.sweep.approximate_modes import SweptModes
from tangentlens.records import Eigenpairs
from tangentlens.store.atomic import write_bytes, write_text

_log = logging.getLogger(__name__)

_FORMAT = 3  # of what a folder holds; one of another format is refused
_ENTRIES = 64  # of every parameter, that tell one model's weights from another's
_STATE, _BASIS = "state.json", "basis.safetensors"
_SCRATCH_SHARE = 0.5  # of the free memory, for the factors of one stage; solving for modes takes some of the rest
_LET_GO: int | None = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows


class SweepWorkspace(ABC):
    """What a sweep asks of the place where it works.

    Args:
        spent: seconds that earlier calls took.
    """

    def __init__(self, spent: float = 0.0) -> None:
        self._spent, self._began = spent, time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the sweep took so far; of an interrupted call, up to what it kept last."""
        return self._spent + time.perf_counter() - self._began

    @abstractmethod
    def room(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Uninitialised room for a tensor of that shape, of the dtype and device of `like`."""

    def scratch(self, wanted: Sequence[tuple[Sequence[int], Tensor]]) -> list[Tensor]:
        """Uninitialised room for tensors of those shapes, gone with the last use of each."""
        return [like.new_empty(tuple(shape)) for shape, like in wanted]

    @abstractmethod
    def below(self, place: int, shape: Sequence[int], gradient: Tensor) -> Tensor:
        """Room for the gradients at the input of stage `place`; may be the memory of those at its output, `gradient`,
        which are overwritten window by window."""

    @abstractmethod
    def rest(self) -> None:
        """Nothing of the rooms is used for a while."""

    @abstractmethod
    def reached(self, place: int, gradient: Tensor) -> None:
        """All that stage `place` gives has been used; `gradient` are the gradients at its input."""

    @abstractmethod
    def start(self) -> tuple[int, Tensor | None]:
        """The first stage that is not done, and the gradients at its output; (0, None) at the beginning."""

    @abstractmethod
    def basis(self) -> tuple[Tensor, Tensor] | None:
        """The basis that was found before, and the error of every window's S along it."""

    @abstractmethod
    def keep_basis(self, basis: Tensor, left_out: Tensor) -> None:
        """Remember both."""

    @abstractmethod
    def modes(self, group: str) -> SweptModes | None:
        """The modes of a group, where they were found before."""

    @abstractmethod
    def keep_modes(self, group: str, modes: SweptModes) -> None:
        """Remember them."""


@final
class InMemory(SweepWorkspace):
    """Nothing outlives the call."""

    def __init__(self) -> None:
        super().__init__()
        self._modes: dict[str, SweptModes] = {}

    def room(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:  # noqa: ARG002 - files have names
        return like.new_empty(tuple(shape))

    def below(self, place: int, shape: Sequence[int], gradient: Tensor) -> Tensor:  # noqa: ARG002
        return gradient if gradient.shape == tuple(shape) else gradient.new_empty(tuple(shape))

    def rest(self) -> None:
        pass

    def reached(self, place: int, gradient: Tensor) -> None:
        pass

    def start(self) -> tuple[int, Tensor | None]:
        return 0, None

    def basis(self) -> tuple[Tensor, Tensor] | None:
        return None

    def keep_basis(self, basis: Tensor, left_out: Tensor) -> None:
        pass

    def modes(self, group: str) -> SweptModes | None:
        return self._modes.get(group)

    def keep_modes(self, group: str, modes: SweptModes) -> None:
        self._modes[group] = modes


@final
class InFolder(SweepWorkspace):
    """Files in a folder; one that was begun with the same fingerprint is gone on with, one of another is refused.

    Args:
        folder: is made where it does not exist.
        fingerprint: of everything that the sweep depends on.

    Raises:
        InvalidInputError: the folder holds a sweep of another model or batch, of other options or another format.
        StoreError: the folder cannot be written, or what it holds is damaged.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = Path(folder)
        self._fingerprint = fingerprint
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / _STATE
            self._state: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise _damaged(self.folder, error) from error
        super().__init__(self._state.get("seconds", 0.0))
        if self._state and self._state.get("fingerprint") != fingerprint:
            raise InvalidInputError(
                "the folder holds a sweep of another model, other windows, other options or an older version",
                where=str(self.folder),
                remedy="Give another folder, or remove it.",
            )
        if not self._state:
            self._note(done=0, shape=None, dtype=None)

    def room(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        return self._mapped(self.folder / f"{name}.bin", shape, like.dtype)

    def scratch(self, wanted: Sequence[tuple[Sequence[int], Tensor]]) -> list[Tensor]:
        """In memory, or, where it would take too much of what is free, in files that have no name."""
        need = sum(_bytes(shape, like.dtype) for shape, like in wanted)
        elsewhere = any(like.device.type != "cpu" for _, like in wanted)
        if elsewhere or need <= _SCRATCH_SHARE * free_memory(torch.device("cpu")):
            return super().scratch(wanted)
        _log.info("%.1f GB of factors go to files in %s", need / 1e9, self.folder)
        return [self._nameless(shape, like.dtype) for shape, like in wanted]

    def rest(self) -> None:
        """Let the pages go: what was written stays in the files, and what is read again comes from there."""
        if _LET_GO is None:
            return
        for mapped in self._maps:
            mapped.madvise(_LET_GO)

    def below(self, place: int, shape: Sequence[int], gradient: Tensor) -> Tensor:
        return self.room(_boundary(place), shape, gradient)  # never the file that an interruption needs

    def reached(self, place: int, gradient: Tensor) -> None:
        self._note(done=place + 1, shape=list(gradient.shape), dtype=str(gradient.dtype).removeprefix("torch."))

    def start(self) -> tuple[int, Tensor | None]:
        done = self._state["done"]
        if done == 0:
            return 0, None
        dtype: torch.dtype = getattr(torch, self._state["dtype"])
        return done, self._mapped(self.folder / f"{_boundary(done - 1)}.bin", self._state["shape"], dtype)

    def basis(self) -> tuple[Tensor, Tensor] | None:
        path = self.folder / _BASIS
        if not path.exists():
            return None
        found = _loaded(path)
        return found["basis"], found["left_out"]

    def keep_basis(self, basis: Tensor, left_out: Tensor) -> None:
        self._write(_BASIS, {"basis": basis, "left_out": left_out})
        self._note()

    def modes(self, group: str) -> SweptModes | None:
        path = self.folder / f"modes-{group}.safetensors"
        if not path.exists():
            return None
        tensors = _loaded(path)
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
        named = {name: tensors.pop(name) for name in _PAIRS}
        pairs = Eigenpairs(**named, products=int(metadata["products"]))  # type: ignore[arg-type]
        check = float(metadata["check"]) if "check" in metadata else None
        outside, error, left_out = (tensors.pop(name) for name in _ERRORS)
        return SweptModes(pairs, outside, error, left_out, check, tensors)

    def keep_modes(self, group: str, modes: SweptModes) -> None:
        tensors = {name: getattr(modes.pairs, name) for name in _PAIRS}
        tensors |= {name: getattr(modes, name) for name in _ERRORS}
        tensors |= modes.readings
        metadata = {"products": str(modes.pairs.products)}
        if modes.check is not None:
            metadata["check"] = repr(modes.check)
        self._write(f"modes-{group}.safetensors", tensors, metadata)
        self._note()

    def _mapped(self, path: Path, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A file of that size as a tensor: what is written there goes to the file."""
        try:
            with path.open("r+b" if path.exists() else "w+b") as stream:
                return self._tensor(stream, shape, dtype)
        except OSError as error:
            raise _damaged(path, error) from error

    def _nameless(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The same in a file that is deleted already: the disk has its room back when the tensor goes."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as stream:
                return self._tensor(stream, shape, dtype)
        except OSError as error:
            raise _damaged(self.folder, error) from error

    def _tensor(self, stream: IO[bytes], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = _bytes(shape, dtype)
        os.truncate(stream.fileno(), size)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and ends the process at the first write
            os.posix_fallocate(stream.fileno(), 0, size)
        mapped = mmap.mmap(stream.fileno(), size)
        self._maps.add(mapped)
        return torch.frombuffer(mapped, dtype=dtype).reshape(tuple(shape))

    def _note(self, **state: Any) -> None:
        self._state |= {"fingerprint": self._fingerprint, "seconds": self.seconds, **state}
        write_text(self.folder / _STATE, json.dumps(self._state))

    def _write(self, name: str, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
        write_bytes(self.folder / name, save({key: t.cpu().contiguous() for key, t in tensors.items()}, metadata))


_ERRORS = ("outside", "outside_error", "left_out")
_PAIRS = ("values", "vectors", "residuals", "converged")


def sweep_fingerprint(model: nn.Module, batch: Mapping[str, Tensor], options: Mapping[str, Any]) -> str:
    """SHA-256 of some entries of every parameter, of the batch and of the options: the same on every machine."""
    digest = hashlib.sha256(json.dumps({"format": _FORMAT, **options}, sort_keys=True, default=str).encode())
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        some = flat[:: max(1, len(flat) // _ENTRIES)].cpu().float().numpy()
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + some.tobytes())
    for name in sorted(batch):
        digest.update(name.encode() + batch[name].to("cpu", torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return int(torch.Size(shape).numel()) * dtype.itemsize


def _boundary(place: int) -> str:
    return f"gradients-{place % 2}"


def _loaded(path: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"what the sweep keeps cannot be read or written: {error}",
        where=str(path),
        remedy="Make room on the disk, or remove the folder and begin again.",
    )
