"""How the scores of every mode are spread over each class of windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 24


@dataclass(frozen=True)
class Histograms:
    """Counts of windows by class and score.

    Attributes:
        classes: names of the C classes.
        counts: (L, k, C, bins) windows.
        edges: (L, k, 2) lowest and highest score; the bins between them are equally wide.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    edges: np.ndarray


def histograms(scores: np.ndarray, classes: Sequence[str], order: Sequence[str] = (), bins: int = BINS) -> Histograms:
    """Histograms of (L, N, k) scores, over the classes in `order` first and the others by name."""
    layers, _, modes = scores.shape
    values = np.nan_to_num(scores.transpose(0, 2, 1))  # (L, k, N)
    edges = np.stack([values.min(axis=2), values.max(axis=2)], axis=2)
    width = np.where(edges[..., 1] > edges[..., 0], edges[..., 1] - edges[..., 0], 1.0)[..., None]
    place = np.minimum(bins * (values - edges[..., :1]) / width, bins - 1).astype(np.int64)
    names = sorted(set(classes), key=lambda name: (order.index(name) if name in order else len(order), name))
    member = np.array([names.index(name) for name in classes], dtype=np.int64)  # (N,)
    mode = np.arange(layers * modes).reshape(layers, modes, 1)
    cell = (mode * len(names) + member) * bins + place
    counts = np.bincount(cell.reshape(-1), minlength=layers * modes * len(names) * bins)
    return Histograms(tuple(names), counts.reshape(layers, modes, len(names), bins), edges)
