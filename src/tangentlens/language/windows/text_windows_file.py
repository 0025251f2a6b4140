"""Text windows on disk: one safetensors file, the tensors as they are, all else as JSON in its metadata."""

from pathlib import Path
from typing import Any

from tangentlens.language.windows.described_file import described_file, write_described
from tangentlens.language.windows.text_windows import TextWindows

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
    return write_described(path, _KEY, {name: getattr(windows, name) for name in _TENSORS}, described)


def read_text_windows(path: Path) -> TextWindows:
    """The windows that `write_text_windows` stored.

    Raises:
        StoreError: the file is missing, damaged, or holds something else.
    """
    with described_file(path, _KEY, "Remove the file and cut them again.") as (stored, described):
        fields: dict[str, Any] = {name: stored.get_tensor(name) for name in _TENSORS}
        fields |= {name: tuple(described[name]) for name in _STRINGS}
        fields["token_text"] = tuple(tuple(row) for row in described["token_text"])
        fields["labels"] = {name: tuple(map(_value, values)) for name, values in described["labels"].items()}
        return TextWindows(**fields, source=described["source"], seed=described["seed"])


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
