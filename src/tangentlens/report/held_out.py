"""For each label the mode and the layer that the train half picked, and what the test half says of them."""

from dataclasses import dataclass

import numpy as np
import torch

from tangentlens.alignment.selection import layers_chosen_on_train, select_modes
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.report.language_run import LanguageRun


@dataclass(frozen=True)
class Choice:
    """Modes and layers that the train half picked of one geometry, or of the baseline.

    Attributes:
        mode: (L, labels) the mode picked in each layer.
        layer: (labels,) the layer picked.
    """

    mode: np.ndarray
    layer: np.ndarray

    def everywhere(self, measure: np.ndarray) -> np.ndarray:
        """(L, labels) a measure (L, k, labels) at each layer's chosen mode."""
        return np.asarray(np.take_along_axis(measure, self.mode[:, None], axis=1)[:, 0])

    def best(self, measure: np.ndarray) -> np.ndarray:
        """(labels,) a measure (L, k, labels) at the chosen mode of the chosen layer."""
        return np.asarray(np.take_along_axis(self.everywhere(measure), self.layer[None], axis=0)[0])


def choose(run: LanguageRun, source: str) -> Choice | None:
    """The stored choice of a geometry or the baseline, made again for a run that holds its scores alone.

    None where the run holds neither, a half lacks a label or a score is no number.
    """
    mode, layer = run.of(source, "chosen.mode"), run.of(source, "layer")
    return _selected(run, source) if mode is None or layer is None else Choice(mode, layer)


def _selected(run: LanguageRun, source: str) -> Choice | None:
    """The choice by the rule of the measurement; each label has its own halves."""
    scores, labels, train = run.of(source, "scores"), run.array("labels.matrix"), run.array("labels.train")
    if scores is None or labels is None or train is None:
        return None
    values = torch.from_numpy(scores).transpose(0, 1)  # (N, L, k)
    halves = [torch.from_numpy(half.astype(bool)) for half in train.T]
    columns = [torch.from_numpy(label[:, None]) for label in labels.T]
    try:
        found = [select_modes(values, label, half) for label, half in zip(columns, halves, strict=True)]
    except (InvalidInputError, NumericalError):
        return None
    layer = run.of(source, "layer")
    if layer is None:
        layer = torch.cat([layers_chosen_on_train(each).layer for each in found]).numpy()
    return Choice(torch.cat([each.mode for each in found], dim=1).numpy(), layer)
