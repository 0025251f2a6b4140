"""Which modes of other layers are most like a mode."""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbours:
    """The most similar modes of other layers, most similar first.

    Attributes:
        modes: (L, k, n) their places, layer * k + mode.
        similarity: (L, k, n) between -1 and 1; signs of modes are free, so -1 is as similar as 1.
    """

    modes: np.ndarray
    similarity: np.ndarray


def by_scores(scores: np.ndarray, count: int = NEIGHBOURS) -> Neighbours:
    """By Pearson's correlation over the windows; scores (L, N, k)."""
    columns = np.nan_to_num(scores.transpose(0, 2, 1)).astype(np.float64)  # (L, k, N)
    return _nearest(columns - columns.mean(axis=2, keepdims=True), count)


def by_directions(directions: np.ndarray, count: int = NEIGHBOURS) -> Neighbours:
    """By the cosine of the output directions; directions (L, k, d)."""
    return _nearest(np.nan_to_num(directions).astype(np.float64), count)


def _nearest(vectors: np.ndarray, count: int) -> Neighbours:
    """By cosine; vectors (L, k, n). A zero vector is like no other."""
    layers, modes, _ = vectors.shape
    flat = vectors.reshape(layers * modes, -1)
    sizes = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.where(sizes > 0, sizes, 1.0)
    cosine = np.clip(unit @ unit.T, -1.0, 1.0)
    layer = np.arange(layers).repeat(modes)
    size = np.where(layer[:, None] == layer, -1.0, np.abs(cosine))
    kept = min(count, (layers - 1) * modes)
    nearest = np.argsort(-size, axis=1, kind="stable")[:, :kept]
    similarity = np.take_along_axis(cosine, nearest, axis=1)
    return Neighbours(nearest.reshape(layers, modes, kept), similarity.reshape(layers, modes, kept))
