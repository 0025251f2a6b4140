"""Memory for the large tensors of a sweep: RAM, or files mapped into memory.

The gradients at the boundary of two stages are R N T d numbers (4.4 GB for 1,024 windows of 64 tokens, 26 directions
and d = 640), and the inputs of all stages N T d each. In files the operating system may drop their pages and read them
again. The factors of one stage, R N T numbers for every output of its weights, follow them where memory is short.
"""

import logging
import mmap
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from tangentlens.errors import StoreError
from tangentlens.kernels.budget import free_memory

_log = logging.getLogger(__name__)

_FACTOR_SHARE = 0.5  # of the free memory, for the factors of one stage; solving for modes takes some of the rest
_DROP_PAGES: int | None = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows

# shape, and a tensor whose dtype and device the new one has
Wanted = tuple[Sequence[int], Tensor]


@runtime_checkable
class Scratch(Protocol):
    """Allocates the uninitialised tensors of a sweep."""

    def allocate(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """A tensor of that shape, of the dtype and device of `like`; in a file, the file of that name."""

    def input_gradients(self, place: int, shape: Sequence[int], gradient: Tensor) -> Tensor:
        """A tensor for the gradients at the input of stage `place`. It may be `gradient` itself, those at the stage's
        output, which are then overwritten window by window."""

    def factors(self, wanted: Sequence[Wanted]) -> list[Tensor]:
        """Tensors for the factors of one stage, each freed with its last use."""

    def release(self) -> None:
        """Drop pages from memory: nothing that was allocated is used for a while."""


@final
class InMemory:
    """Tensors in memory."""

    def allocate(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:  # noqa: ARG002 - files have names
        return like.new_empty(tuple(shape))

    def input_gradients(self, place: int, shape: Sequence[int], gradient: Tensor) -> Tensor:  # noqa: ARG002
        return gradient if gradient.shape == tuple(shape) else gradient.new_empty(tuple(shape))

    def factors(self, wanted: Sequence[Wanted]) -> list[Tensor]:
        return [like.new_empty(tuple(shape)) for shape, like in wanted]

    def release(self) -> None:
        pass


@final
class InFiles:
    """Tensors in files of a folder: what is written to one goes to its file, and an existing file keeps its content.

    Args:
        folder: exists.

    Raises:
        StoreError: a file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._memory = InMemory()
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    def allocate(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        path = self.folder / f"{name}.bin"
        try:
            with path.open("r+b" if path.exists() else "w+b") as stream:
                return self._mapped(stream, shape, like.dtype)
        except OSError as error:
            raise storage_error(path, error) from error

    def input_gradients(self, place: int, shape: Sequence[int], gradient: Tensor) -> Tensor:
        return self.allocate(boundary(place), shape, gradient)  # never the file that a restart reads

    def factors(self, wanted: Sequence[Wanted]) -> list[Tensor]:
        """In memory, or, where that would take too much of what is free, in files that have no name."""
        need = sum(_bytes(shape, like.dtype) for shape, like in wanted)
        elsewhere = any(like.device.type != "cpu" for _, like in wanted)
        if elsewhere or need <= _FACTOR_SHARE * free_memory(torch.device("cpu")):
            return self._memory.factors(wanted)
        _log.info("%.1f GB of factors go to files in %s", need / 1e9, self.folder)
        return [self._nameless(shape, like.dtype) for shape, like in wanted]

    def release(self) -> None:
        if _DROP_PAGES is None:
            return
        for mapped in self._maps:
            mapped.madvise(_DROP_PAGES)

    def _nameless(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor in a file that is deleted already: the disk has its space back when the tensor goes."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as stream:
                return self._mapped(stream, shape, dtype)
        except OSError as error:
            raise storage_error(self.folder, error) from error

    def _mapped(self, stream: IO[bytes], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        size = _bytes(shape, dtype)
        os.truncate(stream.fileno(), size)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and ends the process at the first write
            os.posix_fallocate(stream.fileno(), 0, size)
        mapped = mmap.mmap(stream.fileno(), size)
        self._maps.add(mapped)
        return torch.frombuffer(mapped, dtype=dtype).reshape(tuple(shape))


def boundary(place: int) -> str:
    """Name of the gradients at the input of stage `place`; two names take turns."""
    return f"gradients-{place % 2}"


def storage_error(path: Path, error: Exception) -> StoreError:
    """The error of a file of a sweep that cannot be read or written."""
    return StoreError(
        f"what the sweep keeps cannot be read or written: {error}",
        where=str(path),
        remedy="Free space on the disk, or remove the folder and begin again.",
    )


def _bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return int(torch.Size(shape).numel()) * dtype.itemsize
