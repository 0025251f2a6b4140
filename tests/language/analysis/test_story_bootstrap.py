"""Intervals over stories: of scores that know nothing, and of too few windows."""

import pytest
import torch

pytest.importorskip("transformers", reason="the extra `language` is not installed")
pytest.importorskip("spacy", reason="the extra `language` is not installed")

from tangentlens.language.analysis.method import scored
from tangentlens.language.analysis.story_bootstrap import intervals
from tangentlens.language.analysis.task import Task


def test_scores_that_know_nothing_lead_nowhere():
    """Gaussian scores: every interval of the lead covers zero most of the time."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(160)[:, None] % 4 == torch.arange(4)
    covered = 0
    for _ in range(10):
        scores = torch.randn(2, 160, 3, 5, generator=generator, dtype=torch.float64)
        train = torch.randperm(160, generator=generator) < 80
        task = Task(tuple("abcd"), ("pos",) * 4, labels, train, torch.arange(160))
        methods = [scored("entk", scores[0], task), scored("pca", scores[1], task)]
        _, spreads = intervals(methods, "pca", task, resamples=200, seed=0)
        low, high = spreads["auroc.pos.macro.lead.entk"]
        covered += low <= 0 <= high
    assert covered >= 8


def test_too_few_windows_have_figures_without_intervals():
    """With two windows of a label in a half, some resample of them has none."""
    labels = torch.arange(16)[:, None] % 4 == torch.arange(4)
    train = torch.arange(16) < 8
    scores = torch.randn(2, 16, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    task = Task(tuple("abcd"), ("pos",) * 4, labels, train, torch.arange(16))
    methods = [scored("entk", scores[0], task), scored("pca", scores[1], task)]
    figures, spreads = intervals(methods, "pca", task, resamples=200, seed=0)
    own, other = (float(method.chosen.auroc.mean()) for method in methods)
    assert figures["auroc.pos.macro.lead.entk"][0] == pytest.approx(own - other)
    assert spreads == {}
