"""Text windows on disk: one safetensors file, the tensors as they are, all else as JSON in its metadata."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tangentlens.errors import StoreError
from tangentlens.language.windows.text_windows import TextWindows
from tangentlens.store.atomic import write_bytes

_KEY = "tangentlens.text_windows"
_TENSORS = ("input_ids", "attention_mask", "special", "position", "text_index", "character")
_STRINGS = ("text", "after")


def write_text_windows(path: Path, windows: TextWindows) -> Path:
    """Store windows, whole or not at all; returns the path.

    Raises:
        StoreError: the folder cannot be written.
    """
    described: dict[str, Any] = {name: list(getattr(windows, name)) for name in _STRINGS}
    described |= {"schema": 1, "token_text": windows.token_text, "labels": dict(windows.labels)}
    described |= {"source": dict(windows.source), "seed": windows.seed}
    tensors = {name: getattr(windows, name).contiguous() for name in _TENSORS}
    write_bytes(Path(path), save(tensors, metadata={_KEY: json.dumps(described)}))
    return Path(path)


def read_text_windows(path: Path) -> TextWindows:
    """The windows that `write_text_windows` stored.

    Raises:
        StoreError: the file is missing, damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            described: dict[str, Any] = json.loads((stored.metadata() or {})[_KEY])
            fields: dict[str, Any] = {name: stored.get_tensor(name) for name in _TENSORS}
        fields |= {name: tuple(described[name]) for name in _STRINGS}
        fields["token_text"] = tuple(tuple(row) for row in described["token_text"])
        fields["labels"] = {name: tuple(map(_value, values)) for name, values in described["labels"].items()}
        return TextWindows(**fields, source=described["source"], seed=described["seed"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the windows cannot be read: {error!r}", where=str(path), remedy="Remove the file and cut them again."
        ) from error


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
