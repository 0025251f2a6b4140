"""How well modes rank the next word's grammar, on windows that did not choose them, with intervals over stories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tangentlens.alignment.ranking import (
    WeightedMeasure,
    auroc,
    average_precision_of_signs,
    rank,
    weighted_auroc,
    weighted_average_precision,
)
from tangentlens.alignment.selection import (
    HeldOutScores,
    layers_chosen_on_train,
    paper_best_over_layers,
    select_modes,
)
from tangentlens.analysis.findings import Arrays, Figures, Intervals, keyed
from tangentlens.errors import NumericalError
from tangentlens.statistics.auroc_inference import auroc_inference
from tangentlens.statistics.bootstrap import WeightedStatistic, stratified_bootstrap_interval
from tangentlens.statistics.corrections import holm
from tangentlens.store.figure_keys import LabelScore, Macro, MacroKind

FAMILIES = ("pos", "morph")
MEASURES: Mapping[str, WeightedMeasure] = {"auroc": weighted_auroc, "average_precision": weighted_average_precision}


@dataclass(frozen=True)
class Task:
    """What every method is evaluated by.

    Attributes:
        names: of the labels.
        families: "pos" or "morph" for each.
        labels: (N, L).
        train: (N,) the windows that choose mode, sign and layer.
        story: (N,) the story of each window.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    labels: Bool[Tensor, "N L"]
    train: Bool[Tensor, " N"]
    story: Int[Tensor, " N"]

    def members(self, family: str) -> list[int]:
        """The labels of a family."""
        return [place for place, found in enumerate(self.families) if found == family]


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
        name: how figures call it.
        every: mode and sign chosen in every layer, fields (layers, L).
        chosen: the layer chosen on the train half too, fields (L,).
        best: the paper's best over layers, chosen on the test half itself.
        test_scores: (n, L) of the test half: what was chosen for each label, with its sign.
    """

    name: str
    every: HeldOutScores
    chosen: HeldOutScores
    best: HeldOutScores
    test_scores: Float[Tensor, "n L"]

    @property
    def choice(self) -> Choice:
        """What was chosen for each label."""
        return Choice(self.chosen.layer, self.chosen.mode, self.chosen.sign)


def scored(name: str, scores: Float[Tensor, "N layers k"], task: Task) -> Method:
    """A method's scores with everything chosen on the train half."""
    every = select_modes(scores, task.labels, task.train)
    chosen = layers_chosen_on_train(every)
    picked = Choice(chosen.layer, chosen.mode, chosen.sign).scores(scores[~task.train])
    return Method(name, every, chosen, paper_best_over_layers(every), picked)


def choice_arrays(method: Method) -> Arrays:
    """What the train half chose for each label: mode and sign in every layer, the layer, its mode."""
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


def method_figures(method: Method, task: Task) -> Figures:
    """Macro figures of each family, and every label's."""
    figures: Figures = {}
    for family in FAMILIES:
        members = task.members(family)
        if not members:
            continue
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
            for family in _macro_families(task)
        }
    )


def intervals(
    methods: Sequence[Method], baseline: str, task: Task, *, resamples: int, seed: int
) -> tuple[Figures, Intervals]:
    """Bootstrap over stories: intervals of every label's and macro figure, and of each method's lead over a baseline.

    The same resamples serve all methods, so that differences are paired. What was chosen on the train half is held.
    Where a resample leaves a label without a window there are no intervals.
    """
    stories, of_window = task.story[~task.train].unique(return_inverse=True)
    labels = task.labels[~task.train]
    families = _macro_families(task)
    leads = [method.name for method in methods if method.name != baseline]
    found: Intervals = {}
    figures: Figures = {}
    for measure, weighted in MEASURES.items():
        keys = [key for method in methods for key in _keys(measure, method.name, task)]
        lead_keys = [str(MacroKind(measure, family, "lead", name)) for name in leads for family in families]
        statistic = partial(_with_leads, weighted, methods, baseline, labels, of_window, task)
        found |= intervals_over_stories([*keys, *lead_keys], statistic, len(stories), resamples=resamples, seed=seed)
        values = statistic(torch.ones(1, len(stories), dtype=torch.float64))[0].tolist()[len(keys) :]
        figures |= {key: (value, "ratio") for key, value in zip(lead_keys, values, strict=True)}
    return figures, found


def intervals_over_stories(
    keys: Sequence[str], statistic: WeightedStatistic, stories: int, *, resamples: int, seed: int
) -> Intervals:
    """Bootstrap intervals of figures of weighted stories; none where a resample leaves a figure undefined."""
    random = np.random.default_rng(seed)
    try:
        found = stratified_bootstrap_interval(statistic, torch.zeros(stories), random=random, resamples=resamples)
    except NumericalError:
        return {}
    return dict(zip(keys, zip(found.low.tolist(), found.high.tolist(), strict=True), strict=True))


def _with_leads(
    weighted: WeightedMeasure,
    methods: Sequence[Method],
    baseline: str,
    labels: Bool[Tensor, "n L"],
    of_window: Int[Tensor, " n"],
    task: Task,
    weights: Float[Tensor, "B stories"],
) -> Float[Tensor, "B K"]:
    """A measure of every method for every label, its macros, and the lead in the macros over the baseline."""
    rows = weights[:, of_window]
    each = {m.name: _with_macros(weighted(m.test_scores, labels, rows), task) for m in methods}
    macros = len(_macro_families(task))
    leads = [found[:, -macros:] - each[baseline][:, -macros:] for name, found in each.items() if name != baseline]
    return torch.cat([*each.values(), *leads], dim=1)


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


def _keys(measure: str, method: str, task: Task) -> list[str]:
    named = zip(task.families, task.names, strict=True)
    labels = [str(LabelScore(measure, family, name, method)) for family, name in named]
    return [*labels, *(str(Macro(measure, family, method)) for family in _macro_families(task))]


def _macro_families(task: Task) -> list[str]:
    return [family for family in FAMILIES if task.members(family)]


def _with_macros(values: Float[Tensor, "B L"], task: Task) -> Float[Tensor, "B K"]:
    macros = [values[:, task.members(family)].mean(dim=1, keepdim=True) for family in _macro_families(task)]
    return torch.cat([values, *macros], dim=1)
