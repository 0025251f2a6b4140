"""Alignment of modes with labels: figures of a method, and a table of every mode for every label."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.ranking import auroc, average_precision_of_signs, rank
from tangentlens.analysis.findings import Arrays, Figures, keyed
from tangentlens.language.analysis.method import Method
from tangentlens.language.analysis.story_bootstrap import MEASURES
from tangentlens.language.analysis.task import Task
from tangentlens.statistics.auroc_inference import auroc_inference
from tangentlens.statistics.corrections import holm
from tangentlens.store.figure_keys import LabelScore, Macro, MacroKind


def method_figures(method: Method, task: Task) -> Figures:
    """Macro figures of each family, and every label's."""
    figures: Figures = {}
    for family in task.kinds:
        members = task.members(family)
        for measure in ("auroc", "average_precision", "precision_at_quota", "enrichment"):
            values, best = (getattr(found, measure)[members] for found in (method.chosen, method.best))
            labels = [LabelScore(measure, family, task.names[place], method.name) for place in members]
            figures |= keyed(
                {
                    Macro(measure, family, method.name): float(values.mean()),
                    MacroKind(measure, family, "best_over_layers", method.name): float(best.mean()),
                    **dict(zip(labels, values.tolist(), strict=True)),
                }
            )
    return figures


def layer_figures(method: Method, task: Task, layer: int, name: str) -> Figures:
    """Macro figures at one layer, mode and sign chosen on the train half."""
    return keyed(
        {
            MacroKind(measure, family, name, method.name): float(
                getattr(method.every, measure)[layer, task.members(family)].mean()
            )
            for measure in MEASURES
            for family in task.kinds
        }
    )


def mode_table(scores: Float[Tensor, "N layers k"], task: Task) -> Arrays:
    """Every mode for every label on the test half, its sign chosen on the train half; arrays (layers, k, Lb).

    AUROC with its interval over stories and its p-value, corrected by Holm's rule over all modes, layers and labels,
    average precision, and the sign.
    """
    N, layers, k = scores.shape
    flat = scores.reshape(N, layers * k).double()
    above = auroc(flat[task.train], task.labels[task.train])
    sign = torch.where(above >= 0.5, 1.0, -1.0)
    test, labels = flat[~task.train], task.labels[~task.train]
    found = auroc_inference(test, labels, sign, clusters=task.story[~task.train])
    positive, negative = average_precision_of_signs(rank(test), labels.double())
    tables = {
        "auroc": found.value,
        "auroc.low": found.low,
        "auroc.high": found.high,
        "p": holm(found.p),
        "average_precision": torch.where(sign > 0, positive, negative),
    }
    shape = (layers, k, len(task.names))
    arrays: Arrays = {name: table.reshape(shape).float() for name, table in tables.items()}
    return {**arrays, "sign": sign.reshape(shape).to(torch.int8)}
