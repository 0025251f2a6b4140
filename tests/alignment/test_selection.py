from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tangentlens.alignment.ranking import AUROC, AVERAGE_PRECISION, Criterion, enrichment, precision_at_quota
from tangentlens.alignment.selection import (
    best_over_layers,
    held_out_statistic,
    layers_chosen_on_train,
    select_modes,
)
from tangentlens.errors import InvalidInputError, NumericalError

SCIKIT_LEARN = {"auroc": roc_auc_score, "average_precision": average_precision_score}
CRITERIA = {"auroc": AUROC, "average_precision": AVERAGE_PRECISION}


def problem(seed: int, n: int = 24, layers: int = 3, modes: int = 4, labels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with ties, labels with 2 positives or more in each half, and the halves."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-9, 9, (n, layers, modes), generator=generator).double()
    Y = torch.rand(n, labels, generator=generator) < 0.3
    train = torch.arange(n) % 2 == 0
    Y[:4], Y[4:8] = True, False
    return scores, Y, train


def plain_selection(scores: Tensor, y: Tensor, train: Tensor, criterion: str) -> tuple[int, int, float]:
    """Mode, sign and criterion of one layer, one candidate after another; a later one must be better by 1e-12."""
    best = (0, 1, -1.0)
    for mode, sign in product(range(scores.shape[1]), (1, -1)):
        value = SCIKIT_LEARN[criterion](y[train].numpy(), (sign * scores[train, mode]).numpy())
        if value > best[2] + 1e-12:
            best = (mode, sign, value)
    return best


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 2**31), criterion=st.sampled_from(sorted(CRITERIA)))
def test_equals_a_plain_loop_over_layers_modes_and_signs(seed: int, criterion: str) -> None:
    scores, labels, train = problem(seed)
    found = select_modes(scores, labels, train, criterion=CRITERIA[criterion])
    for layer, label in product(range(3), range(3)):
        y = labels[:, label]
        mode, sign, value = plain_selection(scores[:, layer], y, train, criterion)
        held_out = sign * scores[~train, layer, mode]
        assert (found.layer[layer, label], found.mode[layer, label]) == (layer, mode)
        assert (found.sign[layer, label], found.train_score[layer, label].item()) == (sign, pytest.approx(value))
        assert found.auroc[layer, label].item() == pytest.approx(roc_auc_score(y[~train], held_out))
        assert found.average_precision[layer, label].item() == pytest.approx(
            average_precision_score(y[~train], held_out)
        )
        one = (held_out[:, None], y[~train, None])
        assert found.precision_at_quota[layer, label].item() == pytest.approx(precision_at_quota(*one).item())
        assert found.enrichment[layer, label].item() == pytest.approx(enrichment(*one).item())
        assert found.prevalence[layer, label].item() == pytest.approx(y[~train].double().mean().item())


def test_layers_are_chosen_on_train_or_as_the_paper_does() -> None:
    per_layer = select_modes(*problem(0))
    honest, paper = layers_chosen_on_train(per_layer), best_over_layers(per_layer)
    for label in range(3):
        layer = int(per_layer.train_score[:, label].argmax())
        assert honest.layer[label] == layer
        assert honest.mode[label] == per_layer.mode[layer, label]
        assert honest.auroc[label] == per_layer.auroc[layer, label]
        assert paper.auroc[label] == per_layer.auroc[:, label].max()
        assert paper.average_precision[label] == per_layer.average_precision[paper.layer[label], label]


def test_the_test_half_has_no_part_in_the_choice() -> None:
    scores, labels, train = problem(1)
    other, flipped = scores.clone(), labels.clone()
    other[~train], flipped[~train] = -scores[~train].flip(0), labels[~train].flip(0)
    before, after = select_modes(scores, labels, train), select_modes(other, flipped, train)
    for name in ("mode", "sign", "train_score"):
        assert torch.equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize("criterion", [AUROC, AVERAGE_PRECISION])
@pytest.mark.parametrize("measure", [AUROC, AVERAGE_PRECISION])
def test_the_statistic_is_the_selection_for_many_label_matrices(criterion: Criterion, measure: Criterion) -> None:
    scores, labels, train = problem(2)
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(24).repeat(5, 1)
    for order in rows:
        for half in (train, ~train):
            places = half.nonzero()[:, 0]
            order[places] = places[torch.randperm(len(places), generator=generator)]
    stacked = labels[rows]
    name = "auroc" if measure is AUROC else "average_precision"
    found = held_out_statistic(scores, train, criterion=criterion, measure=measure)(stacked)
    for b in range(5):
        per_layer = select_modes(scores, stacked[b], train, criterion=criterion)
        assert torch.allclose(found[b], getattr(layers_chosen_on_train(per_layer), name), atol=1e-12)


def test_finds_a_planted_mode_with_its_sign() -> None:
    scores, labels, train = problem(3, n=200)
    scores[:, 1, 2] -= 40 * labels[:, 0]
    found = layers_chosen_on_train(select_modes(scores, labels, train))
    assert (found.layer[0], found.mode[0], found.sign[0], found.auroc[0]) == (1, 2, -1, 1)


def test_bad_input_is_refused() -> None:
    scores, labels, train = problem(0)
    half_without = labels.clone()
    half_without[~train, 1] = False
    for arguments, match in (
        ((scores[:, 0], labels, train), "layers, modes"),
        ((scores[:, :, :0], labels, train), "layers, modes"),
        ((scores, labels[1:], train), "labels"),
        ((scores, labels, train[1:]), "train"),
        ((scores, labels, train.long()), "train"),
        ((scores, labels, torch.arange(24) == 0), "1 of 24 inputs"),
        ((scores, half_without, train), "label 1 has no positive.*labels of the test half"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            select_modes(*arguments)
    scores[0, 1, 1] = float("inf")
    with pytest.raises(NumericalError, match="scores"):
        held_out_statistic(scores, train)
