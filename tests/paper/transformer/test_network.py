"""The paper's Transformer against a written-out causal attention over all positions, and its initial weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.paper.modular_addition.data import token_inputs
from tangentlens.paper.transformer.network import OneLayerTransformer

SHAPES_AT_29 = {
    "W_E": (30, 64),
    "W_pos": (3, 64),
    "W_Q": (4, 16, 64),
    "W_K": (4, 16, 64),
    "W_V": (4, 16, 64),
    "W_O": (64, 64),
    "W_in": (64, 256),
    "W_out": (256, 64),
    "W_U": (64, 30),
}


def seeded(*args: int, seed: int = 0) -> OneLayerTransformer:
    return OneLayerTransformer(*args, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits_at_every_position(net: OneLayerTransformer, tokens: list[int]) -> Tensor:
    """(T, p + 1): one prompt, position by position and head by head, each position looking at itself and before."""
    x = [net.W_E[token] + net.W_pos[t] for t, token in enumerate(tokens)]
    logits = []
    for i in range(len(tokens)):
        heads = []
        for h in range(net.heads):
            q = net.W_Q[h] @ x[i]
            scores = torch.stack([q @ (net.W_K[h] @ x[j]) for j in range(i + 1)]) / math.sqrt(net.d_head)
            heads.append(sum(a * (net.W_V[h] @ x[j]) for j, a in enumerate(scores.softmax(dim=0))))
        middle = x[i] + torch.cat(heads) @ net.W_O
        logits.append((middle + (middle @ net.W_in).clamp_min(0) @ net.W_out) @ net.W_U)
    return torch.stack(logits)


@settings(max_examples=8, deadline=None)
@given(
    p=st.integers(2, 7),
    heads=st.integers(1, 3),
    d_head=st.integers(1, 4),
    d_mlp=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_logits_are_those_of_causal_attention_at_the_last_position(p, heads, d_head, d_mlp, seed):
    net = seeded(p, heads * d_head, heads, d_mlp, seed=seed).double()
    tokens = token_inputs(p)[:: p * p - 1]  # the first pair and the last
    expected = torch.stack([logits_at_every_position(net, row.tolist())[-1] for row in tokens])
    torch.testing.assert_close(net(tokens).detach(), expected, rtol=1e-12, atol=1e-12)


def test_parameters_are_the_nine_raw_tensors_of_the_paper():
    net = seeded()
    assert {name: tuple(value.shape) for name, value in net.named_parameters()} == SHAPES_AT_29
    assert not list(net.children())
    assert not list(net.buffers())


def test_initial_weights_have_the_stated_variances():
    net = seeded(113, 128, 4, 512)
    for name, value in net.named_parameters():
        fan = {"W_in": 512, "W_U": 114}.get(name, 128)
        n = value.numel()
        tolerance = 5 * math.sqrt(2 / n)  # five standard errors of a Gaussian's sample variance
        assert float(value.detach().square().mean()) * fan == pytest.approx(1.0, abs=tolerance), name
        assert abs(float(value.detach().mean())) < 5 / math.sqrt(n * fan), name


def test_the_generator_alone_decides_the_weights():
    state = torch.random.get_rng_state()
    same, again, other = seeded(seed=3), seeded(seed=3), seeded(seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in same.named_parameters():
        assert torch.equal(value, again.get_parameter(name))
        assert not torch.equal(value, other.get_parameter(name))


def test_every_parameter_reaches_the_logits():
    net = seeded(5, 8, 2, 16)
    net(token_inputs(5)).square().sum().backward()
    assert all(bool(value.grad.any()) for value in net.parameters())


@pytest.mark.parametrize(("sizes", "where"), [((0, 8, 2, 4), "p"), ((5, 9, 2, 4), "d_model"), ((5, 8, 2, 0), "d_mlp")])
def test_impossible_sizes_are_refused(sizes, where):
    with pytest.raises(InvalidInputError) as caught:
        seeded(*sizes)
    assert caught.value.where == where
