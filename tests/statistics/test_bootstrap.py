import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tangentlens.alignment.ranking import weighted_auroc
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.statistics.bootstrap import WeightedStatistic, stratified_bootstrap_interval


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weighted_means(values: Tensor) -> WeightedStatistic:
    return lambda weights: weights @ values / weights.sum(dim=1, keepdim=True)


def test_one_stratum_is_the_plain_bootstrap_of_several_figures_at_once() -> None:
    values = normal(30, 2, seed=0).exp()
    found = stratified_bootstrap_interval(
        weighted_means(values), torch.zeros(30), random=np.random.default_rng(0), resamples=9999
    )
    for k in range(2):
        column = values[:, k].numpy()
        plain = stats.bootstrap((column,), np.mean, method="BCa", rng=np.random.default_rng(1)).confidence_interval
        assert found.value[k].item() == pytest.approx(column.mean())
        assert (found.low[k].item(), found.high[k].item()) == pytest.approx((plain.low, plain.high), rel=0.03)


def test_strata_keep_their_sizes_and_take_out_what_lies_between_them() -> None:
    strata = torch.arange(40) // 20
    values = normal(40, 1, seed=1) + 1000 * strata[:, None]
    seen = []

    def statistic(weights: Tensor) -> Tensor:
        seen.append(weights[:, :20].sum(dim=1))
        return weighted_means(values)(weights)

    found = stratified_bootstrap_interval(statistic, strata, random=np.random.default_rng(0), resamples=200)
    assert (found.high - found.low).item() < 1
    resampled = torch.cat(seen)
    assert set(resampled.tolist()) == {19, 20}  # 19: the leave-one-out values behind the acceleration
    assert int((resampled == 19).sum()) == 20


def test_a_row_alone_in_its_stratum_always_counts_once() -> None:
    weights = []

    def statistic(times: Tensor) -> Tensor:
        weights.append(times[:, 3])
        return times @ normal(6, 1, seed=0)

    strata = torch.tensor([0, 0, 0, 7, 0, 0])
    stratified_bootstrap_interval(statistic, strata, random=np.random.default_rng(0), resamples=50)
    assert bool((torch.cat(weights) == 1).all())


def test_covers_a_known_auroc_as_often_as_it_says() -> None:
    """Binormal scores: AUROC = Phi(shift / sqrt 2)."""
    trials, hits, truth = 100, 0, stats.norm.cdf(1 / math.sqrt(2))
    labels = torch.arange(60)[:, None] < 20
    for seed in range(trials):
        scores = normal(60, 1, seed=seed) + labels
        found = stratified_bootstrap_interval(
            lambda weights, s=scores: weighted_auroc(s, labels, weights),
            labels[:, 0],
            random=np.random.default_rng(seed),
            resamples=300,
        )
        hits += found.low.item() <= truth <= found.high.item()
    assert stats.binomtest(hits, trials, 0.95).pvalue > 0.01


def test_figures_without_spread_have_no_width() -> None:
    labels = torch.arange(10)[:, None] < 5
    found = stratified_bootstrap_interval(
        lambda weights: weighted_auroc(labels.double(), labels, weights),
        labels[:, 0],
        random=np.random.default_rng(0),
        resamples=50,
    )
    assert (found.low.item(), found.value.item(), found.high.item()) == (1, 1, 1)


def test_is_decided_by_its_generator() -> None:
    values = normal(20, 3, seed=0)
    first, second = (
        stratified_bootstrap_interval(
            weighted_means(values), torch.zeros(20), random=np.random.default_rng(5), resamples=99
        )
        for _ in range(2)
    )
    assert torch.equal(first.low, second.low)
    assert torch.equal(first.high, second.high)


def test_bad_input_is_refused() -> None:
    values = normal(8, 1, seed=0)

    def interval(**options: Any) -> None:
        arguments = {"statistic": weighted_means(values), "within": torch.zeros(8)} | options
        stratified_bootstrap_interval(**arguments, random=np.random.default_rng(0))

    for options, match in (
        ({"level": 1.0}, "level=1.0"),
        ({"resamples": 0}, "resamples=0"),
        ({"within": torch.arange(8) / 9}, "nothing to resample"),
        ({"within": torch.full((8,), float("nan"))}, "nothing to resample"),
        ({"within": torch.zeros(8, 2)}, "nothing to resample"),
        ({"statistic": lambda weights: weights.sum(dim=1)}, "statistic"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            interval(**options)
    with pytest.raises(NumericalError, match="NaN"):
        interval(statistic=lambda weights: weights[:, :1] / 0)
