"""A safetensors file whose metadata holds, under one key, what is no tensor as JSON."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tangentlens.errors import StoreError
from tangentlens.store.atomic import write_bytes


def write_described(path: Path, key: str, tensors: Mapping[str, Tensor], described: Mapping[str, Any]) -> Path:
    """Store tensors and their description, whole or not at all; returns the path.

    Raises:
        StoreError: the folder cannot be written.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes(Path(path), save(contiguous, metadata={key: json.dumps(described)}))
    return Path(path)


@contextmanager
def described_file(path: Path, key: str, remedy: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The opened file and its description, for a record to be made from.

    Raises:
        StoreError: the file is missing, damaged, or the record cannot be made from it.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored, json.loads((stored.metadata() or {})[key])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the windows cannot be read: {error!r}", where=str(path), remedy=remedy) from error
