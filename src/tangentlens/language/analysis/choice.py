"""Choice of geometry, weights and scoring of modes on the train half, with its figure on the test half.

Among more candidates a better one is found by chance alone. So the train half is divided once more: modes, signs and
layers come from one half of it, and the choice is made on the other.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.selection import layers_chosen_on_train, select_modes
from tangentlens.alignment.splits import balanced_half
from tangentlens.analysis.findings import Figures, keyed
from tangentlens.errors import InvalidInputError
from tangentlens.language.analysis.task import Task
from tangentlens.store.figure_keys import BestChoice, ChoiceScore

_HALVES = ("validation", "test")

# geometry -> class of weights -> kind of score -> scores (N, layers, columns)
Candidates = Mapping[str, Mapping[str, Mapping[str, Tensor]]]


def choice_figures(candidates: Candidates, task: Task, seed: int) -> Figures:
    """Macro AUROC over the first family, inside the train half and on the test half: of every choice, of the best."""
    labels = task.labels[:, task.main]
    rows = task.train.nonzero()[:, 0]
    try:
        inner = balanced_half(labels[rows], seed=seed + 1, groups=task.story[rows])
    except InvalidInputError:  # so few windows that a quarter of them lacks a label
        return {}
    figures: Figures = {}
    best: tuple[float, float] | None = None
    for geometry, classes in candidates.items():
        for weights, kinds in classes.items():
            for kind, scores in kinds.items():
                values = (_macro(scores[rows], labels[rows], inner), _macro(scores, labels, task.train))
                for half, value in zip(_HALVES, values, strict=True):
                    figures |= keyed({ChoiceScore(geometry, weights, kind, half): value})
                best = values if best is None or values[0] > best[0] else best
    for half, value in zip(_HALVES, best or (), strict=False):
        figures |= keyed({BestChoice(half): value})
    return figures


def _macro(scores: Float[Tensor, "N layers k"], labels: Tensor, train: Tensor) -> float:
    return float(layers_chosen_on_train(select_modes(scores, labels, train)).auroc.mean())
