import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tangentlens.alignment.ranking import (
    CRITERIA,
    auroc,
    average_precision,
    enrichment,
    precision_at_quota,
    rank,
)
from tangentlens.errors import InvalidInputError, NumericalError


def cases(n: int, M: int, L: int, values: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scores with `values` distinct values at most, and labels with a positive and a negative each."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(values, (n, M), generator=generator).double() / 7 - 3
    labels = torch.rand(n, L, generator=generator) < torch.rand(L, generator=generator)
    labels[0], labels[1] = True, False
    return scores, labels[torch.randperm(n, generator=generator)]


CASES = st.builds(
    cases,
    n=st.integers(2, 40),
    M=st.integers(1, 3),
    L=st.integers(1, 3),
    values=st.sampled_from([1, 2, 5, 40, 10**6]),
    seed=st.integers(0, 2**31),
)


@settings(deadline=None, max_examples=20)
@given(case=CASES)
def test_equal_scikit_learn_ties_included(case: tuple[Tensor, Tensor]) -> None:
    scores, labels = case
    for ours, theirs in ((auroc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [[theirs(y.numpy(), s.numpy()) for y in labels.T] for s in scores.T]
        assert torch.allclose(ours(scores, labels), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


@settings(deadline=None, max_examples=20)
@given(case=CASES)
def test_criteria_give_both_signs_and_pairs_what_the_plain_functions_give(case: tuple[Tensor, Tensor]) -> None:
    scores, labels = case
    columns = torch.arange(labels.shape[1]) % scores.shape[1]
    for name, plain in (("auroc", auroc), ("average_precision", average_precision)):
        both = torch.stack([plain(scores, labels), plain(-scores, labels)])
        every = CRITERIA[name].every_pair(rank(scores), labels.double())
        paired = CRITERIA[name].paired(rank(scores), columns, labels.double())
        assert torch.allclose(every, both, rtol=0, atol=1e-13)
        assert torch.allclose(paired, both[:, columns, torch.arange(len(columns))], rtol=0, atol=1e-13)


@settings(deadline=None, max_examples=20)
@given(case=CASES, seed=st.integers(0, 2**31))
def test_depend_on_the_order_of_the_scores_alone(case: tuple[Tensor, Tensor], seed: int) -> None:
    scores, labels = case
    rows = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    for measure in (auroc, average_precision, precision_at_quota):
        plain = measure(scores, labels)
        assert torch.allclose(measure(scores.atan() * 5 + 1, labels), plain, atol=1e-12)
        assert torch.allclose(measure(scores[rows], labels[rows]), plain, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(case=CASES, quota=st.integers(1, 40))
def test_precision_at_quota_is_the_mean_over_random_breaking_of_ties(case: tuple[Tensor, Tensor], quota: int) -> None:
    scores, labels = case
    q = torch.full((labels.shape[1],), min(quota, len(scores)))
    score = scores[:, 0]
    last = score.sort(descending=True).values[int(q[0]) - 1]
    above, level = labels[score > last].double(), labels[score == last].double()
    expected = (above.sum(dim=0) + (q - len(above)) * level.mean(dim=0)) / q
    assert torch.allclose(precision_at_quota(scores, labels, q)[0], expected, atol=1e-12)


def test_a_perfect_score_has_every_measure_at_its_best() -> None:
    labels = torch.arange(12)[:, None] >= 9
    scores = torch.arange(12.0)[:, None]
    assert auroc(scores, labels).item() == 1
    assert average_precision(scores, labels).item() == 1
    assert precision_at_quota(scores, labels).item() == 1
    assert enrichment(scores, labels).item() == pytest.approx(4)
    assert auroc(-scores, labels).item() == 0


def test_a_constant_score_gives_chance() -> None:
    labels = torch.arange(12)[:, None] >= 9
    scores = torch.ones(12, 1)
    found = [measure(scores, labels).item() for measure in (auroc, average_precision, precision_at_quota, enrichment)]
    assert found == pytest.approx([0.5, 0.25, 0.25, 1])


def test_many_labels_are_taken_in_pieces_to_the_same_end() -> None:
    scores, labels = cases(200, 3, 700, 50, seed=0)
    whole = average_precision(scores, labels)
    assert torch.allclose(whole[:, 350:], average_precision(scores, labels[:, 350:]), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("scores", "labels", "match"),
    [
        (torch.ones(5), torch.ones(5, 1), "scores"),
        (torch.ones(1, 1), torch.ones(1, 1), "at least 2 inputs"),
        (torch.ones(4, 0), torch.ones(4, 1), "scores"),
        (torch.ones(4, 1), torch.ones(5, 1), r"\(4, L\)"),
        (torch.ones(4, 1), torch.ones(4), r"\(4, L\)"),
        (torch.ones(4, 1), torch.tensor([[0.0], [1.0], [2.0], [0.0]]), "0 or 1"),
        (torch.ones(4, 1), torch.tensor([[0.0], [1.0], [float("nan")], [0.0]]), "0 or 1"),
        (torch.ones(4, 1), torch.tensor([[0, 0], [1, 0], [1, 0], [0, 0]]), "label 1 has no positive"),
        (torch.ones(4, 1), torch.ones(4, 1), "label 0 has no negative"),
    ],
)
def test_bad_input_is_refused(scores: Tensor, labels: Tensor, match: str) -> None:
    for measure in (auroc, average_precision, precision_at_quota, enrichment):
        with pytest.raises(InvalidInputError, match=match):
            measure(scores, labels)


def test_nan_is_named_by_its_column_and_a_bad_quota_refused() -> None:
    scores, labels = cases(9, 3, 2, 5, seed=0)
    for quota in (torch.tensor([0, 1]), torch.tensor([1, 10]), torch.tensor([1]), torch.tensor([1.0, 2.0])):
        with pytest.raises(InvalidInputError, match="quota"):
            precision_at_quota(scores, labels, quota)
    scores[3, 2] = float("nan")
    with pytest.raises(NumericalError, match="column 2"):
        auroc(scores, labels)
