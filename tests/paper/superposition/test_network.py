"""The Toy Model of Superposition, its importance, its loss and what counts as represented."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.paper.stacked_training import StackedTraining
from tangentlens.paper.superposition.data import sparse_inputs
from tangentlens.paper.superposition.network import (
    SuperpositionNetwork,
    geometric_importance,
    reconstruction_loss,
    represented_features,
)


def seeded(features: int, hidden: int, seed: int = 0) -> SuperpositionNetwork:
    return SuperpositionNetwork(features, hidden, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 8), m=st.integers(1, 8), seed=st.integers(0, 99))
def test_outputs_are_the_formula_entry_by_entry(n, m, seed):
    net = seeded(n, m, seed).double()
    with torch.no_grad():
        net.b.copy_(torch.linspace(-1, 1, n))
    x = torch.rand(3, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    W, b = net.W.tolist(), net.b.tolist()
    for row, outputs in zip(x.tolist(), net(x).tolist(), strict=True):
        hidden = [sum(W[j][i] * row[i] for i in range(n)) for j in range(m)]
        for i in range(n):
            before = sum(W[j][i] * hidden[j] for j in range(m)) + b[i]
            assert outputs[i] == pytest.approx(max(0.0, before), abs=1e-12)


def test_initial_weight_is_xavier_normal_and_the_bias_zero():
    net = seeded(400, 100)
    variance = float(net.W.detach().square().mean())
    assert variance == pytest.approx(2 / 500, rel=5 * math.sqrt(2 / net.W.numel()))
    assert not bool(net.b.any())


def test_the_generator_alone_decides_the_weight():
    state = torch.random.get_rng_state()
    assert torch.equal(seeded(6, 3, 1).W, seeded(6, 3, 1).W)
    assert not torch.equal(seeded(6, 3, 1).W, seeded(6, 3, 2).W)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_loss_weighs_squared_errors_by_importance():
    importance = geometric_importance(3)
    torch.testing.assert_close(importance, torch.tensor([1.0, 0.8, 0.64]))
    outputs, inputs = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    expected = (1.0 * 1 + 0.8 * 4 + 0.64 * 9) / 6
    assert float(reconstruction_loss(importance)(outputs, inputs)) == pytest.approx(expected)


def test_features_whose_column_is_long_enough_are_represented():
    W = torch.diag(torch.tensor([1.0, 0.9, 0.8, 0.0]))  # squared lengths 1, .81, .64, 0
    assert represented_features(W).tolist() == [True, True, False, False]
    assert represented_features(W, threshold=0.6).tolist() == [True, True, True, False]


def test_without_sparsity_a_bottleneck_of_two_represents_the_two_most_important_features():
    x = sparse_inputs(200, 6, 0.0, generator=torch.Generator().manual_seed(0))
    training = StackedTraining(
        [seeded(6, 2)],
        x[None],
        x[None],
        objective=reconstruction_loss(geometric_importance(6, ratio=0.3)),
        optimiser=lambda leaves: torch.optim.Adam(leaves, lr=3e-2),
        generators=[torch.Generator()],
    )
    for _ in range(250):
        training.run_epoch()
    assert represented_features(training.snapshot(0)["W"]).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(InvalidInputError, match="positive"):
        seeded(*sizes)
