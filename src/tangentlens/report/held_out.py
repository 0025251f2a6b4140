"""For each label the mode and the layer that the train half picks, and what the test half says of them."""

from dataclasses import dataclass

import numpy as np

from tangentlens.report.language_run import LanguageRun


@dataclass(frozen=True)
class Choice:
    """What the train half picks of one geometry, or of the baseline.

    Attributes:
        mode: (L, labels) the mode of each layer with the largest average precision on the train half, either sign.
        precision: (L, labels) that average precision; 0 where the train half has no window with the label.
        layer: (labels,) the layer where it is largest.
    """

    mode: np.ndarray
    precision: np.ndarray
    layer: np.ndarray

    def everywhere(self, measure: np.ndarray) -> np.ndarray:
        """(L, labels) a measure (L, k, labels) at each layer's chosen mode."""
        return np.asarray(np.take_along_axis(measure, self.mode[:, None], axis=1)[:, 0])

    def best(self, measure: np.ndarray) -> np.ndarray:
        """(labels,) a measure (L, k, labels) at the chosen mode of the chosen layer."""
        return np.asarray(np.take_along_axis(self.everywhere(measure), self.layer[None], axis=0)[0])


def choose(run: LanguageRun, source: str) -> Choice | None:
    """The choice of a geometry or the baseline; None where its scores, the labels or their halves are absent."""
    scores, labels, train = run.of(source, "scores"), run.array("labels.matrix"), run.array("labels.train")
    if scores is None or labels is None or train is None:
        return None
    ordered = np.argsort(-np.nan_to_num(scores), axis=1, kind="stable").transpose(0, 2, 1)  # (L, k, N), highest first
    halves = (train[:, i].astype(bool) for i in range(labels.shape[1]))
    either = np.stack([_larger_precision(ordered, labels[:, i], half) for i, half in enumerate(halves)], axis=2)
    mode = either.argmax(axis=1)
    precision = np.take_along_axis(either, mode[:, None], axis=1)[:, 0]
    layer = run.of(source, "layer")  # as the run chose it; the same rule, but it knows ties
    return Choice(mode, precision, precision.argmax(axis=0) if layer is None else layer)


def _larger_precision(ordered: np.ndarray, label: np.ndarray, half: np.ndarray) -> np.ndarray:
    """(L, k) average precision on the half, of the sign that gives more; 0 where the half has no such window.

    One order of all windows, (L, k, N), serves the halves of all labels; equal scores stay in the order of the windows.
    """
    inside, hit = half[ordered].astype(np.float64), (half & (label > 0))[ordered].astype(np.float64)
    return np.asarray(np.maximum(_precision(inside, hit), _precision(inside[..., ::-1], hit[..., ::-1])))


def _precision(inside: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Mean over the hits of (hits so far) / (windows so far), along the last axis."""
    so_far = hit.cumsum(axis=-1) / np.maximum(inside.cumsum(axis=-1), 1.0)
    return np.asarray((so_far * hit).sum(axis=-1) / np.maximum(hit.sum(axis=-1), 1.0))
