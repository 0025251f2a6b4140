"""Windows on disk: one safetensors file, the tokens as arrays, all else as JSON in its metadata."""

from pathlib import Path
from typing import Any

from tangentlens.language.windows.described_file import described_file, write_described
from tangentlens.language.windows.windows import Windows

_KEY = "tangentlens.windows"
_TENSORS, _WORDS = ("input_ids", "story"), ("text", "word", "pos", "morphology")


def write_windows(path: Path, windows: Windows) -> Path:
    """Store windows, whole or not at all; returns the path.

    Raises:
        StoreError: the folder cannot be written.
    """
    described: dict[str, Any] = {name: list(getattr(windows, name)) for name in _WORDS}
    described |= {"schema": 1, "source": dict(windows.source), "seed": windows.seed}
    return write_described(path, _KEY, {name: getattr(windows, name) for name in _TENSORS}, described)


def read_windows(path: Path) -> Windows:
    """The windows that `write_windows` stored.

    Raises:
        StoreError: the file is missing, damaged, or holds something else.
    """
    with described_file(path, _KEY, "Remove the file and build them again.") as (stored, described):
        fields: dict[str, Any] = {name: stored.get_tensor(name) for name in _TENSORS}
        fields |= {name: tuple(described[name]) for name in _WORDS}
        return Windows(**fields, source=described["source"], seed=described["seed"])
