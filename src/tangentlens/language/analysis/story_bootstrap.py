"""Bootstrap over stories: intervals of every method's figures, and of its lead over a baseline."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tangentlens.alignment.ranking import WeightedMeasure, weighted_auroc, weighted_average_precision
from tangentlens.analysis.findings import Figures, Intervals
from tangentlens.errors import NumericalError
from tangentlens.language.analysis.method import Method
from tangentlens.language.analysis.task import Task
from tangentlens.statistics.bootstrap import WeightedStatistic, stratified_bootstrap_interval
from tangentlens.store.figure_keys import LabelScore, Macro, MacroKind

MEASURES: Mapping[str, WeightedMeasure] = {"auroc": weighted_auroc, "average_precision": weighted_average_precision}


def intervals(
    methods: Sequence[Method], baseline: str, task: Task, *, resamples: int, seed: int
) -> tuple[Figures, Intervals]:
    """Bootstrap over stories: intervals of every label's and macro figure, and of each method's lead over a baseline.

    The same resamples serve all methods, so that differences are paired. What was chosen on the train half is held.
    Where a resample leaves a label without a window there are no intervals.
    """
    stories, of_window = task.story[~task.train].unique(return_inverse=True)
    labels = task.labels[~task.train]
    leads = [method.name for method in methods if method.name != baseline]
    found: Intervals = {}
    figures: Figures = {}
    for measure, weighted in MEASURES.items():
        keys = [key for method in methods for key in _keys(measure, method.name, task)]
        lead_keys = [str(MacroKind(measure, family, "lead", name)) for name in leads for family in task.kinds]
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
    macros = len(task.kinds)
    leads = [found[:, -macros:] - each[baseline][:, -macros:] for name, found in each.items() if name != baseline]
    return torch.cat([*each.values(), *leads], dim=1)


def _keys(measure: str, method: str, task: Task) -> list[str]:
    named = zip(task.families, task.names, strict=True)
    labels = [str(LabelScore(measure, family, name, method)) for family, name in named]
    return [*labels, *(str(Macro(measure, family, method)) for family in task.kinds)]


def _with_macros(values: Float[Tensor, "B L"], task: Task) -> Float[Tensor, "B K"]:
    macros = [values[:, task.members(family)].mean(dim=1, keepdim=True) for family in task.kinds]
    return torch.cat([values, *macros], dim=1)
