import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tangentlens.alignment.ranking import auroc, average_precision, weighted_auroc, weighted_average_precision
from tangentlens.errors import InvalidInputError, NumericalError


def case(seed: int, n: int = 15, L: int = 2, B: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-4, 4, (n, L), generator=generator).double()
    labels = torch.rand(n, L, generator=generator) < 0.4
    weights = torch.randint(0, 4, (B, n), generator=generator)
    labels[0], labels[1], weights[:, :2] = True, False, 1
    return scores, labels, weights


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_whole_weights_are_repetitions_and_any_weights_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels, weights = case(seed)
    for ours, plain, theirs in (
        (weighted_auroc, auroc, roc_auc_score),
        (weighted_average_precision, average_precision, average_precision_score),
    ):
        found, halved = ours(scores, labels, weights), ours(scores, labels, weights * 0.37)
        for b, times in enumerate(weights):
            rows = torch.arange(len(scores)).repeat_interleave(times)
            expected = plain(scores[rows], labels[rows]).diagonal()
            assert torch.allclose(found[b], expected, rtol=0, atol=1e-12)
            assert torch.allclose(halved[b], expected, rtol=0, atol=1e-12)
            for label in range(2):
                value = theirs(labels[:, label], scores[:, label], sample_weight=times * 0.37)
                assert found[b, label].item() == pytest.approx(value, abs=1e-12)


def test_bad_input_is_refused() -> None:
    scores, labels, weights = case(0)
    for measure in (weighted_auroc, weighted_average_precision):
        for arguments in (
            (scores[:, :1], labels, weights),
            (scores, labels, weights[0]),
            (scores, labels, weights[:, 1:]),
            (scores, labels, weights[:0]),
            (scores, labels, -weights),
            (scores, labels, weights * float("nan")),
        ):
            with pytest.raises(InvalidInputError, match="weights"):
                measure(*arguments)
        with pytest.raises(NumericalError, match="without a positive"):
            measure(scores, labels, weights * ~labels[:, 0])
