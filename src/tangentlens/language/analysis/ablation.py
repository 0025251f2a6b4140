"""Selectivity of an ablated direction: the drop of a label's own words less that of others, and of controls.

The drop of a window is that of the probability of the word's first token that the model itself would write, in
percentage points. A label's selectivity is the mean drop of the windows whose next word has the label less that of the
others; the macro figure is its mean over labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tangentlens.analysis.findings import Figures, Findings, keyed
from tangentlens.language.analysis.config import ScoringConfig
from tangentlens.language.analysis.story_bootstrap import intervals_over_stories
from tangentlens.statistics.permutation import p_of_draws, permutation_test
from tangentlens.store.figure_keys import Selectivity, SelectivityP, WordDrop


@dataclass(frozen=True)
class Ablations:
    """Drops of n windows after each label's direction was ablated.

    Attributes:
        names: of the L labels.
        labels: (n, L) whose next word has the label.
        story: (n,) of each window.
        drops: method -> (n, L): the drop once that method's direction for the label is gone.
    """

    names: tuple[str, ...]
    labels: Bool[Tensor, "n L"]
    story: Int[Tensor, " n"]
    drops: Mapping[str, Float[Tensor, "n L"]]


def ablation_figures(found: Ablations, methods: Sequence[str], config: ScoringConfig, seed: int) -> Findings:
    """Own and other drops of every label and method, macro selectivities, and some methods against all others.

    Intervals: bootstrap over stories. p of `over_other_words`: labels in random order among the windows. p of a
    control: the drops of a window exchanged at random (one-sided), all labels of a window together.
    """
    once = torch.ones(1, len(found.story), dtype=torch.float64)
    figures: Figures = {}
    for name, drops in found.drops.items():
        own, other = (side[0].tolist() for side in _sides(drops, found.labels, once))
        for label, mine, rest in zip(found.names, own, other, strict=True):
            figures |= keyed({WordDrop(label, name, "own"): mine, WordDrop(label, name, "other"): rest})
    compared = {Selectivity(name, "selectivity"): drops for name, drops in found.drops.items()}
    for method in methods:
        drops = found.drops[method]
        compared[Selectivity(method, "over_other_words")] = drops
        compared |= {Selectivity(method, f"over_{name}"): drops - found.drops[name] for name in _others(found, method)}
    _, of_window = found.story.unique(return_inverse=True)

    def statistic(weights: Float[Tensor, "B stories"]) -> Float[Tensor, "B K"]:
        rows = weights[:, of_window]
        return torch.stack([_selectivity(drops, found.labels, rows) for drops in compared.values()], dim=1)

    keys, stories = [str(key) for key in compared], int(of_window.max()) + 1
    values = statistic(torch.ones(1, stories, dtype=torch.float64))[0].tolist()
    figures |= {key: (value, "percent") for key, value in zip(keys, values, strict=True)}
    spreads = intervals_over_stories(keys, statistic, stories, resamples=config.resamples, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for method in methods:
        figures |= keyed({SelectivityP(method, "over_other_words"): _labels_p(found, method, config, generator)})
        for name in _others(found, method):
            difference = compared[Selectivity(method, f"over_{name}")]
            p = _exchange_p(difference, found.labels, config.permutations, generator)
            figures |= keyed({SelectivityP(method, f"over_{name}"): p})
    return Findings(figures, intervals=spreads)


def _sides(
    drops: Float[Tensor, "n L"], labels: Bool[Tensor, "n L"], weights: Float[Tensor, "B n"]
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
    """Weighted mean drops of each label's own windows and of the others."""
    mine, rest = labels.double(), (~labels).double()
    return (weights @ (drops * mine)) / (weights @ mine), (weights @ (drops * rest)) / (weights @ rest)


def _selectivity(
    drops: Float[Tensor, "n L"], labels: Bool[Tensor, "n L"], weights: Float[Tensor, "B n"]
) -> Float[Tensor, " B"]:
    own, other = _sides(drops, labels, weights)
    macro: Tensor = (own - other).mean(dim=1)
    return macro


def _others(found: Ablations, method: str) -> list[str]:
    return [name for name in found.drops if name != method]


def _labels_p(found: Ablations, method: str, config: ScoringConfig, generator: torch.Generator) -> float:
    """One-sided p of a macro selectivity whose labels could as well be in any other order among the windows."""
    once = torch.ones(1, len(found.story), dtype=torch.float64)
    permuted = permutation_test(
        lambda labels: torch.stack([_selectivity(found.drops[method], each, once) for each in labels]),
        found.labels,
        generator=generator,
        permutations=config.permutations,
    )
    return float(permuted.p[0])


def _exchange_p(
    difference: Float[Tensor, "n L"], labels: Bool[Tensor, "n L"], permutations: int, generator: torch.Generator
) -> float:
    """One-sided p of the macro selectivity of a difference whose sign could as well be the other in every window."""
    once = torch.ones(1, len(labels), dtype=torch.float64)
    observed = _selectivity(difference, labels, once)[0]
    signs = torch.randint(2, (permutations, len(labels), 1), generator=generator).double() * 2 - 1
    null = torch.cat([_selectivity(sign * difference, labels, once) for sign in signs])
    return float(p_of_draws(null, observed))
