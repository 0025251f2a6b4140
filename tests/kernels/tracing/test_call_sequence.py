"""A forward pass that makes other calls than the pilot's is refused."""

import pytest
import torch

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.call_sequence import check_length, following, growth
from tangentlens.kernels.tracing.recording import Recording

FEW = Recording(torch.zeros(3, 1), (), (), (("tanh", (torch.Size([3, 2]),)), ("t", (torch.Size([2, 2]),))), 2)


def test_results_that_grow_carry_the_batch():
    calls = []
    carries_batch = growth(FEW, calls)
    assert carries_batch(0, "tanh", torch.zeros(4, 2))
    assert not carries_batch(1, "t", torch.zeros(2, 2))
    assert calls == [("tanh", True), ("t", False)]
    check_length(FEW, calls)


@pytest.mark.parametrize(("position", "name"), [(0, "sin"), (2, "tanh")])
def test_other_calls_for_another_batch_size(position, name):
    with pytest.raises(UnsupportedModelError, match="other calls for 4 examples than for 3"):
        growth(FEW, [])(position, name, torch.zeros(4, 2))


def test_fewer_calls_for_another_batch_size():
    with pytest.raises(UnsupportedModelError, match="other calls"):
        check_length(FEW, [("tanh", True)])


@pytest.mark.parametrize(("position", "name"), [(0, "sin"), (1, "tanh")])
def test_other_calls_than_the_pilots(position, name):
    carries_batch = following([("tanh", True)])
    assert carries_batch(0, "tanh", None)
    with pytest.raises(UnsupportedModelError, match="takes another way"):
        carries_batch(position, name, None)
