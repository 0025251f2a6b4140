from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score
from torch import Tensor

from tangentlens.alignment.ranking import weighted_auroc, weighted_average_precision
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.statistics.paired import PairedComparison, paired_comparison


def methods(seed: int, n: int = 60, L: int = 3, better: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Two correlated methods that both find every label, the first better by `better`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, L, generator=generator) < 0.3
    labels[:3], labels[3:6] = True, False
    shared, *own = (torch.randn(n, L, generator=generator, dtype=torch.float64) for _ in range(3))
    return shared + own[0] + (1 + better) * labels, shared + own[1] + labels, labels


def compare(first: Tensor, second: Tensor, labels: Tensor, seed: int = 0, **options: Any) -> PairedComparison:
    options = {"resamples": 200, "permutations": 99} | options
    strata = torch.zeros(len(labels))
    return paired_comparison(
        weighted_auroc, first, second, labels, strata, random=np.random.default_rng(seed), **options
    )


def test_differences_are_those_of_scikit_learn_and_their_mean() -> None:
    first, second, labels = methods(0)
    found = compare(first, second, labels)
    expected = [roc_auc_score(y, a) - roc_auc_score(y, b) for a, b, y in zip(first.T, second.T, labels.T, strict=True)]
    assert found.difference.tolist() == pytest.approx(expected)
    assert found.macro_difference == pytest.approx(np.mean(expected))
    assert bool((found.low <= found.difference).all())
    assert bool((found.difference <= found.high).all())


def test_p_values_equal_a_plain_loop_over_exchanges_and_labels() -> None:
    first, second, labels = methods(1, n=20, L=2)
    found = compare(first, second, labels, seed=3, permutations=30, resamples=1)
    random = np.random.default_rng(3)
    swaps = random.random((20, 30, 1)) < 0.5
    a, b = rankdata(first, axis=0), rankdata(second, axis=0)
    null = []
    for k in range(30):
        mine, other = np.where(swaps[:, k], a, b), np.where(swaps[:, k], b, a)
        null.append([roc_auc_score(y, m) - roc_auc_score(y, o) for y, m, o in zip(labels.T, mine.T, other.T)])  # noqa: B905
    observed, extreme = found.difference.tolist(), np.abs(null)
    for i in range(2):
        limit = abs(observed[i]) - 1e-9
        assert found.p[i].item() == pytest.approx((1 + (extreme[:, i] >= limit).sum()) / 31)
        assert found.p_family[i].item() == pytest.approx((1 + (extreme.max(axis=1) >= limit).sum()) / 31)
    macro = np.abs(np.mean(null, axis=1))
    assert found.macro_p == pytest.approx((1 + (macro >= abs(np.mean(observed)) - 1e-9).sum()) / 31)


def test_changing_sides_changes_the_sign_and_nothing_else() -> None:
    first, second, labels = methods(2)
    there, back = compare(first, second, labels), compare(second, first, labels)
    assert torch.equal(there.difference, -back.difference)
    assert torch.allclose(there.low, -back.high)
    assert torch.equal(there.p, back.p)


def test_the_scale_of_a_method_does_not_matter() -> None:
    first, second, labels = methods(3)
    plain, scaled = compare(first, second, labels), compare(first.exp(), second * 1e6 - 4, labels)
    assert torch.equal(plain.p_family, scaled.p_family)
    assert torch.allclose(plain.low, scaled.low)


def test_a_better_method_is_seen_and_a_method_is_not_better_than_itself() -> None:
    first, second, labels = methods(4, n=200, better=1.5)
    found = compare(first, second, labels)
    assert found.macro_p == 0.01
    assert found.macro_interval[0] > 0
    itself = compare(first, first, labels)
    assert itself.macro_p == 1
    assert itself.p.tolist() == [1, 1, 1]


def test_p_values_are_uniform_where_the_methods_are_alike() -> None:
    p = [compare(*methods(seed, n=40, L=1), seed=seed, resamples=1, permutations=49).p.item() for seed in range(70)]
    spread = np.array(p) - np.random.default_rng(0).random(70) / 50
    assert stats.kstest(spread, "uniform").pvalue > 0.01


def test_average_precision_is_compared_by_the_same_call() -> None:
    first, second, labels = methods(5)
    strata = labels[:, 0]
    found = paired_comparison(
        weighted_average_precision,
        first,
        second,
        labels,
        strata,
        random=np.random.default_rng(0),
        resamples=50,
        permutations=9,
    )
    once = torch.ones(1, len(labels))
    expected = weighted_average_precision(first, labels, once) - weighted_average_precision(second, labels, once)
    assert torch.allclose(found.difference, expected[0])


def test_bad_input_is_refused() -> None:
    first, second, labels = methods(0)
    for arguments, match in (
        ((first[:, :1], second, labels), "do not fit"),
        ((first[:, 0], second[:, 0], labels[:, 0]), "do not fit"),
        ((first, second, labels[:, :1]), "do not fit"),
        ((first, second, labels & False), "no positive"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            compare(*arguments)
    with pytest.raises(InvalidInputError, match="permutations=0"):
        compare(first, second, labels, permutations=0)
    first[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="NaN"):
        compare(first, second, labels)
