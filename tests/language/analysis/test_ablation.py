"""Selectivity of planted drops, and what the tests make of drops that know nothing of the labels."""

import pytest
import torch

from tangentlens.language.analysis.ablation import Ablations, ablation_figures
from tangentlens.language.analysis.config import ScoringConfig

CONFIG = ScoringConfig(resamples=200, permutations=99)
LABELS = torch.arange(90)[:, None] % 3 == torch.arange(3)


def ablations(entk: torch.Tensor, random: torch.Tensor) -> Ablations:
    return Ablations(("a", "b", "c"), LABELS, torch.arange(90) // 2, {"entk": entk, "random": random})


def noise(seed: int) -> torch.Tensor:
    return torch.randn(90, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_drops_of_a_labels_own_words_are_selective():
    found = ablation_figures(ablations(10.0 * LABELS + noise(0), noise(1)), ("entk",), CONFIG, 0)
    figures, intervals = found.figures, found.intervals
    drops = 10.0 * LABELS + noise(0)
    own = [float(drops[LABELS[:, i], i].mean()) for i in range(3)]
    other = [float(drops[~LABELS[:, i], i].mean()) for i in range(3)]
    assert figures["causal.language.ablate.b.entk.own"][0] == pytest.approx(own[1])
    assert figures["causal.language.ablate.c.entk.other"][0] == pytest.approx(other[2])
    macro = "causal.language.ablate.macro.entk.selectivity"
    assert figures[macro][0] == pytest.approx(sum(own) / 3 - sum(other) / 3)
    low, high = intervals[macro]
    assert 8 < low < figures[macro][0] < high < 12
    assert figures["p_ablate.entk.over_other_words"][0] == pytest.approx(1 / 100)
    assert figures["p_ablate.entk.over_random"][0] == pytest.approx(1 / 100)


def test_a_label_of_one_story_leaves_selectivities_without_intervals():
    story = torch.where(LABELS[:, 0], 0, torch.arange(90))
    some = Ablations(("a", "b", "c"), LABELS, story, {"entk": 10.0 * LABELS + noise(0), "random": noise(1)})
    found = ablation_figures(some, ("entk",), CONFIG, 0)
    assert found.figures["causal.language.ablate.macro.entk.selectivity"][0] == pytest.approx(10, abs=1)
    assert found.intervals == {}


def test_drops_of_everything_alike_are_not():
    found = ablation_figures(ablations(10.0 + noise(0), noise(1)), ("entk",), CONFIG, 0)
    figures, intervals = found.figures, found.intervals
    low, high = intervals["causal.language.ablate.macro.entk.over_other_words"]
    assert low < 0.5
    assert high > -0.5
    assert figures["p_ablate.entk.over_other_words"][0] > 0.02


def test_p_values_are_uniform_where_nothing_is_there():
    found = [
        ablation_figures(ablations(noise(2 * i), noise(2 * i + 1)), ("entk",), CONFIG, i).figures for i in range(20)
    ]
    for key in ("p_ablate.entk.over_other_words", "p_ablate.entk.over_random"):
        p = sorted(figures[key][0] for figures in found)
        assert p[0] > 0.005
        assert 0.2 < sum(p) / 20 < 0.8
