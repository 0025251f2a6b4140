"""What a run stores of the inputs that are shown somewhere: thumbnails, texts, rows, series."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tangentlens.analysis.discovery.shown import Shown
from tangentlens.analysis.discovery.thumbnails import thumbnail
from tangentlens.analysis.findings import Findings
from tangentlens.errors import InvalidInputError
from tangentlens.progress import Progress, silent

_MOST_TEXT = 600  # characters
_MOST_POINTS = 200  # of a series


def shown_findings(shown: Shown, rows: Sequence[int], progress: Progress = silent) -> Findings:
    """How some inputs are shown.

    Words: shown.kind; shown.texts, one for each; shown.columns. Arrays: shown.rows (n,) their places among the inputs;
    shown.png (bytes,) uint8 of all pictures, shown.ends (n,) where each ends; shown.table (n, w); shown.series
    (n, T, c) float16 in units of shown.scale, every so many points of a long one.

    Args:
        shown: how each is shown.
        rows: which, ascending.
        progress: receives the inputs.
    """
    items: list[Any] = []
    for done, row in enumerate(rows):
        progress("inputs shown", done, len(rows))
        item = shown.item(int(row))
        items.append(thumbnail(item) if shown.kind == "image" else item)
    progress("inputs shown", len(rows), len(rows))
    arrays = {"shown.rows": torch.tensor(list(map(int, rows)), dtype=torch.int64)}
    words: dict[str, tuple[str, ...]] = {"shown.kind": (shown.kind,)}
    if shown.kind == "image":
        arrays["shown.png"] = torch.from_numpy(np.frombuffer(b"".join(items), np.uint8).copy())
        arrays["shown.ends"] = torch.tensor([len(item) for item in items]).cumsum(0)
    elif shown.kind == "text":
        words["shown.texts"] = tuple(text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…" for text in items)
    elif shown.kind == "table":
        arrays["shown.table"] = torch.from_numpy(_same_shape(items))
        words["shown.columns"] = shown.columns
    else:
        arrays |= _series(items)
    return Findings(arrays=arrays, words=words)


def _series(items: Sequence[np.ndarray]) -> dict[str, Tensor]:
    every = max(1, -(-max(map(len, items)) // _MOST_POINTS))
    lines = _same_shape([np.nan_to_num(item[::every]) for item in items])
    scale = float(np.abs(lines).max()) or 1.0
    return {
        "shown.series": torch.from_numpy((lines / scale).astype(np.float16)),
        "shown.scale": torch.tensor(scale, dtype=torch.float64),
    }


def _same_shape(items: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of one table; series that end early stay at their last value."""
    widths = {item.shape[1:] if item.ndim > 1 else item.shape for item in items}
    if len(widths) > 1:
        raise InvalidInputError(
            f"the inputs are shown as rows of {len(widths)} lengths", where="show", remedy="Give the same columns."
        )
    longest = max(map(len, items))
    return np.stack([np.concatenate([item, np.repeat(item[-1:], longest - len(item), axis=0)]) for item in items])
