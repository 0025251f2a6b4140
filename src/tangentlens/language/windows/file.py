"""Windows on disk: one safetensors file, the tokens as arrays, all else as JSON in its metadata."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tangentlens.errors import StoreError
from tangentlens.language.windows.windows import Windows
from tangentlens.store.atomic import write_bytes

_KEY = "tangentlens.windows"
_WORDS = ("text", "word", "pos", "morphology")


def write_windows(path: Path, windows: Windows) -> Path:
    """Store windows, whole or not at all; returns the path.

    Raises:
        StoreError: the folder cannot be written.
    """
    described: dict[str, Any] = {name: list(getattr(windows, name)) for name in _WORDS}
    described |= {"schema": 1, "source": dict(windows.source), "seed": windows.seed}
    tensors = {"input_ids": windows.input_ids.contiguous(), "story": windows.story.contiguous()}
    write_bytes(Path(path), save(tensors, metadata={_KEY: json.dumps(described)}))
    return Path(path)


def read_windows(path: Path) -> Windows:
    """The windows that `write_windows` stored.

    Raises:
        StoreError: the file is missing, damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            described: dict[str, Any] = json.loads((stored.metadata() or {})[_KEY])
            tensors = {name: stored.get_tensor(name) for name in ("input_ids", "story")}
        words = {name: tuple(described[name]) for name in _WORDS}
        fields: dict[str, Any] = {**tensors, **words, "source": described["source"], "seed": described["seed"]}
        return Windows(**fields)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the windows cannot be read: {error!r}", where=str(path), remedy="Remove the file and build them again."
        ) from error
