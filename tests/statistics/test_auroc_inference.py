import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.statistics.auroc_inference import auroc_inference
from tangentlens.statistics.corrections import holm


def drawn(seed: int, n: int = 60, modes: int = 3, labels: int = 2, shift: float = 1.0, ties: bool = False):
    """Scores (N, M), labels (N, L) and signs (M, L); the positives of label 0 score higher by `shift`."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(n, labels, generator=generator) < 0.4
    y[0], y[1] = True, False
    x = torch.randn(n, modes, generator=generator, dtype=torch.float64) + shift * y[:, :1]
    signs = torch.where(torch.rand(modes, labels, generator=generator) < 0.7, 1.0, -1.0)
    return (x * 2).round() if ties else x, y, signs


def by_pairs(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Area and DeLong's variance from every pair of a positive and a negative, as the paper writes them."""
    wins = (x[y][:, None] > x[~y][None]) + 0.5 * (x[y][:, None] == x[~y][None])
    return float(wins.mean()), float(wins.mean(1).var(ddof=1) / y.sum() + wins.mean(0).var(ddof=1) / (~y).sum())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), ties=st.booleans())
def test_area_interval_and_p_are_those_of_the_definitions(seed: int, ties: bool) -> None:
    x, y, signs = drawn(seed, ties=ties)
    found = auroc_inference(x, y, signs)
    z = stats.norm.ppf(0.975)
    for mode in range(x.shape[1]):
        for label in range(y.shape[1]):
            score, positive = (signs[mode, label] * x[:, mode]).numpy(), y[:, label].numpy()
            area, variance = by_pairs(score, positive)
            assert float(found.value[mode, label]) == pytest.approx(area)
            assert area == pytest.approx(roc_auc_score(positive, score))
            odds, spread = np.log(area / (1 - area)), z * np.sqrt(variance) / (area * (1 - area))
            bounds = 1 / (1 + np.exp(-(odds - spread))), 1 / (1 + np.exp(-(odds + spread)))
            assert (float(found.low[mode, label]), float(found.high[mode, label])) == pytest.approx(bounds)
            test = stats.mannwhitneyu(
                score[positive], score[~positive], alternative="greater", method="asymptotic", use_continuity=True
            )
            assert float(found.p[mode, label]) == pytest.approx(float(test.pvalue), rel=1e-9)


def test_a_turned_score_turns_the_interval() -> None:
    x, y, signs = drawn(0)
    up, down = auroc_inference(x, y, signs), auroc_inference(-x, y, signs)
    assert torch.allclose(up.value, 1 - down.value)
    assert torch.allclose(up.low, 1 - down.high)
    assert torch.allclose(auroc_inference(-x, y, -signs).p, up.p)


def test_the_variance_is_that_of_new_samples() -> None:
    """The spread of the area over many samples against the mean of DeLong's estimate, read off the intervals."""
    areas, widths = [], []
    for seed in range(300):
        x, y, _ = drawn(seed, n=120, modes=1, labels=1)
        found = auroc_inference(x, y, torch.ones(1, 1))
        value = float(found.value)
        width = np.log(float(found.high) / (1 - float(found.high))) - np.log(float(found.low) / (1 - float(found.low)))
        areas.append(value)
        widths.append(width / (2 * stats.norm.ppf(0.975)) * value * (1 - value))
    assert np.sqrt(np.mean(np.square(widths))) == pytest.approx(np.std(areas), rel=0.15)


def test_copies_inside_a_cluster_say_nothing_new() -> None:
    x, y, signs = drawn(1)
    twice, labels, stories = x.repeat(2, 1), y.repeat(2, 1), torch.arange(len(x)).repeat(2)
    alone, clustered = auroc_inference(x, y, signs), auroc_inference(twice, labels, signs, clusters=stories)
    assert torch.allclose(clustered.low, alone.low)
    assert torch.allclose(clustered.high, alone.high)
    naive = auroc_inference(twice, labels, signs)
    assert bool((naive.high - naive.low < clustered.high - clustered.low).all())


def test_clusters_of_one_are_no_clusters_whatever_they_are_called() -> None:
    x, y, signs = drawn(2)
    named = auroc_inference(x, y, signs, clusters=1000 - 7 * torch.arange(len(x)))
    assert torch.allclose(named.low, auroc_inference(x, y, signs).low)


def test_a_perfect_score_is_not_called_certain() -> None:
    y = torch.arange(40)[:, None] < 10
    x = torch.stack([y[:, 0].double(), torch.zeros(40, dtype=torch.float64)], dim=1)
    found = auroc_inference(x, y, torch.ones(2, 1))
    assert found.value[:, 0].tolist() == [1.0, 0.5]
    low = float(found.low[0, 0])
    assert low == pytest.approx(stats.binomtest(10, 10).proportion_ci(method="wilson").low)
    assert float(found.high[0, 0]) == pytest.approx(1)
    assert float(found.low[1, 0]) < 0.25  # all tied: nothing is known
    assert float(found.p[1, 0]) == 1


def test_intervals_cover_and_nulls_are_uniform() -> None:
    """2,000 scores that know nothing of their label: 95 % of the intervals hold 0.5, p-values are uniform."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(200, 2000, generator=generator, dtype=torch.float64)
    y = torch.arange(200)[:, None] % 4 == 0
    found = auroc_inference(x, y, torch.ones(2000, 1))
    covered = float(((found.low <= 0.5) & (found.high >= 0.5)).double().mean())
    assert 0.935 <= covered <= 0.965
    assert stats.kstest(found.p[:, 0].numpy(), "uniform").pvalue > 0.01
    assert float(holm(found.p).min()) > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.ones(60, 2, dtype=torch.bool)}, "label 0 has no negative among 60 rows"),
        ({"labels": torch.ones(59, 2, dtype=torch.bool)}, "expected labels of shape"),
        ({"signs": torch.zeros(3, 2)}, "signs of shape"),
        ({"clusters": torch.zeros(3)}, "clusters of shape"),
        ({"level": 1.0}, "level"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, message) -> None:
    x, y, signs = drawn(3)
    with pytest.raises(InvalidInputError, match=message):
        auroc_inference(**({"scores": x, "labels": y, "signs": signs} | change))


def test_scores_that_are_not_numbers_are_refused() -> None:
    x, y, signs = drawn(3)
    x[4, 1] = torch.nan
    with pytest.raises(NumericalError, match="NaN"):
        auroc_inference(x, y, signs)
