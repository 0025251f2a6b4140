import math
from typing import Any

import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tangentlens.alignment.ranking import AUROC, AVERAGE_PRECISION, Criterion
from tangentlens.alignment.selection import held_out_statistic
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.statistics.permutation import Statistic, permutation_test, random_orders


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean_of_positives(scores: Tensor) -> Statistic:
    """Mean score of the positives of each label."""

    def statistic(labels: Tensor) -> Tensor:
        return torch.einsum("bnl,n->bl", labels.double(), scores) / labels.sum(dim=1)

    return statistic


def halves_problem(seed: int, n: int, layers: int, modes: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    random = generator(seed)
    scores = torch.randn(n, layers, modes, generator=random, dtype=torch.float64)
    labels = torch.rand(n, count, generator=random) < 0.3
    labels[:4], labels[4:8] = True, False
    return scores, labels, torch.arange(n) % 2 == 0


def plain_held_out_auroc(scores: Tensor, labels: Tensor, train: Tensor, criterion: str) -> list[float]:
    """The selection over layers, modes and signs, one label and one candidate after another, by scikit-learn."""
    judge = {"auroc": roc_auc_score, "average_precision": average_precision_score}[criterion]
    candidates = [sign * column for column in scores.flatten(1).T for sign in (1, -1)]
    found = []
    for y in labels.T:
        best, value = candidates[0], -1.0
        for candidate in candidates:
            now = judge(y[train].numpy(), candidate[train].numpy())
            if now > value + 1e-12:
                best, value = candidate, now
        found.append(roc_auc_score(y[~train].numpy(), best[~train].numpy()))
    return found


@pytest.mark.parametrize(("name", "criterion"), [("auroc", AUROC), ("average_precision", AVERAGE_PRECISION)])
def test_equals_a_plain_loop_over_shuffles_labels_layers_modes_and_signs(name: str, criterion: Criterion) -> None:
    scores, labels, train = halves_problem(0, n=24, layers=2, modes=2, count=2)
    found = permutation_test(
        held_out_statistic(scores, train, criterion=criterion),
        labels,
        generator=generator(1),
        within=train,
        permutations=12,
        chunk=7,
    )
    orders = torch.cat(list(random_orders(train.long(), 12, generator(1), chunk=7)))
    observed = torch.tensor(plain_held_out_auroc(scores, labels, train, name), dtype=torch.float64)
    null = torch.tensor(
        [plain_held_out_auroc(scores, labels[order], train, name) for order in orders], dtype=torch.float64
    )
    assert torch.allclose(found.observed, observed, rtol=0, atol=1e-12)
    assert torch.allclose(found.null, null, rtol=0, atol=1e-12)
    for i, value in enumerate(observed.tolist()):
        assert found.p[i] == (1 + sum(v >= value - 1e-9 for v in null[:, i].tolist())) / 13
        assert found.p_family[i] == (1 + sum(max(row) >= value - 1e-9 for row in null.tolist())) / 13
    assert found.p_global == found.p_family.min()


def test_rows_stay_in_their_stratum_and_every_order_is_equally_likely() -> None:
    strata = torch.tensor([5, 5, 2, 5, 2])
    orders = torch.cat(list(random_orders(strata, 6000, generator(0), chunk=1000)))
    assert torch.equal(orders.sort(dim=1).values, torch.arange(5).expand(6000, 5))
    assert torch.equal(strata[orders], strata.expand(6000, 5))
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 12
    assert stats.chisquare(counts.numpy()).pvalue > 0.001


def test_labels_are_permuted_jointly() -> None:
    labels = torch.rand(20, 1, generator=generator(0)) < 0.5
    found = permutation_test(
        mean_of_positives(torch.arange(20.0).double()), labels.repeat(1, 3), generator=generator(0), permutations=50
    )
    assert torch.equal(found.null, found.null[:, :1].expand(50, 3))
    assert torch.equal(found.p_family, found.p)


def test_a_real_relation_has_the_smallest_p_and_the_maximum_is_stricter() -> None:
    scores, labels, train = halves_problem(1, n=80, layers=2, modes=3, count=4)
    scores[:, 1, 0] += 5 * labels[:, 2]
    found = permutation_test(
        held_out_statistic(scores, train), labels, generator=generator(0), within=train, permutations=199
    )
    assert found.p[2] == found.p_family[2] == found.p_global == 1 / 200
    assert bool((found.p_family >= found.p).all())


def test_is_decided_by_its_generator_whatever_the_chunk() -> None:
    scores, labels, train = halves_problem(2, n=20, layers=1, modes=3, count=2)
    statistic = held_out_statistic(scores, train)
    first, second, other = (
        permutation_test(statistic, labels, generator=generator(seed), within=train, permutations=30, chunk=chunk)
        for seed, chunk in ((0, 4), (0, 30), (1, 30))
    )
    assert torch.equal(first.null, second.null)
    assert not torch.equal(first.null, other.null)


def test_constant_scores_never_surprise() -> None:
    labels = torch.arange(12)[:, None] % 3 == 0
    found = permutation_test(
        mean_of_positives(torch.ones(12).double()), labels, generator=generator(0), permutations=20
    )
    assert found.p.item() == found.p_global == 1


def test_p_values_are_uniform_where_labels_are_random() -> None:
    B, p_values, p_global = 49, [], []
    for trial in range(150):
        scores, labels, train = halves_problem(trial, n=30, layers=1, modes=2, count=2)
        found = permutation_test(
            held_out_statistic(scores, train), labels, generator=generator(trial), within=train, permutations=B
        )
        p_values.append(found.p[0].item())
        p_global.append(found.p_global)
    for values in (p_values, p_global):
        # a discrete p is uniform on k / 50 apart from ties; spread over its step it is uniform on (0, 1)
        spread = torch.tensor(values) - torch.rand(150, generator=generator(0)) / (B + 1)
        assert stats.kstest(spread.numpy(), "uniform").pvalue > 0.01
    false = sum(p <= 0.05 for p in p_global)
    assert stats.binomtest(false, 150, 0.05, alternative="greater").pvalue > 0.01


def test_a_selection_left_out_of_the_shuffles_is_seen_by_the_same_check() -> None:
    """The fault: the best mode chosen and scored on the same inputs, against a null of one fixed mode."""
    false = 0
    for trial in range(100):
        scores, labels, _ = halves_problem(trial, n=40, layers=1, modes=10, count=1)
        positives = scores[labels[:, 0], 0].mean(dim=0)
        best = scores[:, 0, int(positives.argmax())]
        found = permutation_test(mean_of_positives(best), labels, generator=generator(trial), permutations=99)
        false += found.p.item() <= 0.05
    assert stats.binomtest(false, 100, 0.05, alternative="greater").pvalue < 1e-6


def test_bad_input_is_refused() -> None:
    labels = torch.arange(8)[:, None] % 2 == 0
    statistic = mean_of_positives(torch.arange(8.0).double())

    def test(statistic: Statistic = statistic, labels: Tensor = labels, **options: Any) -> None:
        permutation_test(statistic, labels, generator=generator(0), **options)

    for options, match in (
        ({"permutations": 0}, "permutations=0"),
        ({"chunk": 0}, "chunk=0"),
        ({"labels": labels[:1]}, "labels"),
        ({"labels": labels[:, 0]}, "labels"),
        ({"within": torch.zeros(7)}, "within"),
        ({"within": torch.arange(8)}, "nothing can be exchanged"),
        ({"within": torch.full((8,), math.nan)}, "within"),
        ({"statistic": torch.sum}, "statistic"),
        ({"statistic": lambda Y: torch.zeros(len(Y) + 1)}, "statistic"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            test(**options)
    halved = held_out_statistic(torch.randn(8, 1, 2, generator=generator(0)), torch.arange(8) < 4)
    with pytest.raises(InvalidInputError, match=r"no positive.*labels of the (train|test) half"):
        test(statistic=halved, labels=torch.arange(8)[:, None] % 4 == 0)
    with pytest.raises(InvalidInputError, match="label matrices"):
        halved(labels)
    with pytest.raises(NumericalError, match="NaN"):
        test(statistic=lambda Y: torch.full((len(Y),), math.nan))
