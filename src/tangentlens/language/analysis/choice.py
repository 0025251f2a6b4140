"""Which geometry, which weights and which score of a mode do best: chosen on the train half, reported on the test half.

A choice with more candidates finds a better one by chance alone. So the train half is divided once more: modes, signs
and layers come from one half of it, and the choice is evaluated on the other.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.selection import layers_chosen_on_train, select_modes
from tangentlens.alignment.splits import balanced_half
from tangentlens.analysis.findings import Figures
from tangentlens.errors import InvalidInputError
from tangentlens.language.analysis.alignment import Task

# geometry -> class of weights -> kind of score -> scores (N, layers, columns)
Candidates = Mapping[str, Mapping[str, Mapping[str, Tensor]]]


def choice_figures(candidates: Candidates, task: Task, seed: int) -> Figures:
    """Macro AUROC over parts of speech of every choice inside the train half, and on the test half; and of the best."""
    pos = task.members("pos")
    labels = task.labels[:, pos]
    rows = task.train.nonzero()[:, 0]
    try:
        inner = balanced_half(labels[rows], seed=seed + 1, groups=task.story[rows])
    except InvalidInputError:  # so few windows that a quarter of them lacks a label
        return {}
    figures: Figures = {}
    for geometry, classes in candidates.items():
        for weights, kinds in classes.items():
            for kind, scores in kinds.items():
                key = f"choice.{geometry}.{weights}.{kind}"
                figures[f"{key}.validation"] = (_macro(scores[rows], labels[rows], inner), "ratio")
                figures[f"{key}.test"] = (_macro(scores, labels, task.train), "ratio")
    best = max((key for key in figures if key.endswith(".validation")), key=lambda key: figures[key][0])
    chosen = best.removesuffix(".validation")
    figures["choice.best.validation"] = figures[best]
    figures["choice.best.test"] = figures[f"{chosen}.test"]
    return figures


def _macro(scores: Float[Tensor, "N layers k"], labels: Tensor, train: Tensor) -> float:
    return float(layers_chosen_on_train(select_modes(scores, labels, train)).auroc.mean())
