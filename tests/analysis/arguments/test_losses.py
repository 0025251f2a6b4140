"""The loss of each example, by name, by function, by what the targets are."""

import pytest
import torch
from torch import nn

from tangentlens.analysis.arguments.losses import example_loss, read_targets
from tangentlens.errors import InvalidInputError

F = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(8) % 3


@pytest.mark.parametrize(
    ("loss", "targets", "exact"),
    [
        (None, CLASSES, nn.functional.cross_entropy(F, CLASSES, reduction="none")),
        ("mean_squared_error", F + 1, torch.ones(8)),
        (None, F + 2, torch.full((8,), 4.0)),
        (nn.CrossEntropyLoss(), CLASSES, nn.functional.cross_entropy(F, CLASSES, reduction="none")),
        (nn.MSELoss(reduction="none"), F + 1, torch.ones(8)),
        (lambda outputs, targets: (outputs - targets).abs().sum(dim=1), F + 1, torch.full((8,), 3.0)),
    ],
)
def test_losses_are_one_number_for_each_example(loss, targets, exact):
    name, function = example_loss(loss, targets, F)
    assert name
    assert torch.allclose(function(F, targets), exact)


def test_one_output_and_integers_are_binary():
    assert example_loss(None, CLASSES > 0, F[:, :1])[0] == "binary_cross_entropy"


@pytest.mark.parametrize("loss", ["hinge", 3, nn.CrossEntropyLoss(), lambda *_: "none"])
def test_a_loss_that_does_not_fit_is_refused(loss):
    with pytest.raises(InvalidInputError) as caught:
        example_loss(loss, torch.full((8,), 7.5), F)
    assert caught.value.where == "loss"


@pytest.mark.parametrize("targets", [[1, 2], ["a"] * 8, [float("nan")] * 8])
def test_targets_that_do_not_fit_are_refused(targets):
    with pytest.raises(InvalidInputError, match="target"):
        read_targets(targets, 8)
