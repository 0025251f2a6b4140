"""The place where a sweep works: scratch memory and results, both in memory or both in a folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tangentlens.language.sweep.results import FolderStore, MemoryStore, Results
from tangentlens.language.sweep.scratch import InFiles, InMemory, Scratch, boundary

_FORMAT = 3  # of what a folder holds; one of another format is refused
_ENTRIES = 64  # of every parameter, that distinguish one model's weights from another's


class Workspace(NamedTuple):
    """Scratch memory and results of a sweep."""

    scratch: Scratch
    results: Results

    def start(self) -> tuple[int, Tensor | None]:
        """The first stage that is not done, and the gradients at its output; (0, None) at the beginning."""
        point = self.results.resume_point
        if point is None:
            return 0, None
        like = torch.empty(0, dtype=point.dtype)
        return point.done, self.scratch.allocate(boundary(point.done - 1), point.shape, like)


def in_memory() -> Workspace:
    """A workspace that ends with the call."""
    return Workspace(InMemory(), Results(MemoryStore()))


def in_folder(folder: Path, fingerprint: str) -> Workspace:
    """A workspace in a folder; one that was begun with the same fingerprint is gone on with.

    Raises:
        InvalidInputError: the folder holds a sweep of another model or batch, of other options or another format.
        StoreError: the folder cannot be written, or a file in it is damaged.
    """
    store = FolderStore(Path(folder), fingerprint)
    return Workspace(InFiles(store.folder), Results(store))


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
