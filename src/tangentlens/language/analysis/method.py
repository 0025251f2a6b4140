"""One way to score windows: layer, mode and sign chosen for each label on the train half, scores on the test half."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.selection import (
    HeldOutScores,
    best_over_layers,
    layers_chosen_on_train,
    select_modes,
)
from tangentlens.analysis.findings import Arrays
from tangentlens.language.analysis.task import Task


@dataclass(frozen=True)
class Choice:
    """Layer, mode and sign chosen on the train half for each label, (L,)."""

    layer: Int[Tensor, " L"]
    mode: Int[Tensor, " L"]
    sign: Float[Tensor, " L"]

    def scores(self, every: Float[Tensor, "N layers k"]) -> Float[Tensor, "N L"]:
        """Each label's chosen score of every window, with its sign."""
        return every.double()[:, self.layer, self.mode] * self.sign


@dataclass(frozen=True)
class Method:
    """One way to score windows, with its held-out scores.

    Attributes:
        name: in the keys of figures.
        every: mode and sign chosen in every layer, fields (layers, L).
        chosen: the layer chosen on the train half too, fields (L,).
        best: the layer chosen on the test half itself, as in arXiv 2510.00468.
        test_scores: (n, L) of the test half: what was chosen for each label, with its sign.
    """

    name: str
    every: HeldOutScores
    chosen: HeldOutScores
    best: HeldOutScores
    test_scores: Float[Tensor, "n L"]

    @property
    def choice(self) -> Choice:
        """Layer, mode and sign of each label."""
        return Choice(self.chosen.layer, self.chosen.mode, self.chosen.sign)


def scored(name: str, scores: Float[Tensor, "N layers k"], task: Task) -> Method:
    """A method's scores with everything chosen on the train half."""
    every = select_modes(scores, task.labels, task.train)
    chosen = layers_chosen_on_train(every)
    picked = Choice(chosen.layer, chosen.mode, chosen.sign).scores(scores[~task.train])
    return Method(name, every, chosen, best_over_layers(every), picked)


def choice_arrays(method: Method) -> Arrays:
    """Arrays of the choice for each label: mode and sign in every layer, the layer, its mode."""
    return {
        "chosen.mode": method.every.mode,
        "chosen.sign": method.every.sign.to(torch.int8),
        "layer": method.chosen.layer,
        "mode": method.chosen.mode,
    }


def stored_choice(arrays: Mapping[str, Tensor], prefix: str, scores: Float[Tensor, "N layers k"], task: Task) -> Choice:
    """The choice that the measurement stored; made again where a run of before lacks the signs."""
    if f"{prefix}.chosen.sign" not in arrays:
        return scored("", scores, task).choice
    layer, mode, signs = (arrays[f"{prefix}.{name}"] for name in ("layer", "mode", "chosen.sign"))
    return Choice(layer, mode, signs.double().gather(0, layer[None])[0])
