"""Examples that influence one another are refused by every method."""

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import tangentlens as tl

LENGTH, WIDTH = 4, 6


class Layered(nn.Module):
    """A function between two layers, of activations (N, T, d)."""

    def __init__(self, between):
        super().__init__()
        self.embed, self.head, self.between = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 2), between

    def forward(self, x):
        return self.head(self.between(self.embed(x)).mean(1))


def _weights(draw):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return draw()


class WrongAxis(nn.Module):
    """A layer that takes the batch for its sequence."""

    def __init__(self, layer, causal=False):
        super().__init__()
        self.layer, self.causal = layer, causal

    def forward(self, h):
        mask = torch.ones(len(h), len(h), dtype=torch.bool).triu(1) if self.causal else None
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(h, h, h, attn_mask=mask)[0]
        if isinstance(self.layer, nn.TransformerEncoderLayer):
            return self.layer(h, src_mask=mask)
        return self.layer(h)[0]


class BatchConvolution(nn.Module):
    """A convolution along the batch axis."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(WIDTH, WIDTH, 3, padding=2)

    def forward(self, h):
        return self.layer(h.permute(1, 2, 0))[..., : len(h)].permute(2, 0, 1).tanh()


class Experts(nn.Module):
    """Experts that take at most so many positions of the batch each, first come, first served."""

    def __init__(self, capacity):
        super().__init__()
        self.router, self.experts = nn.Linear(WIDTH, 2), nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.capacity = capacity

    def forward(self, h):
        flat = h.reshape(-1, WIDTH)
        chosen = functional.one_hot(self.router(flat).argmax(-1), 2)
        kept = chosen * (chosen.cumsum(0) <= self.capacity(len(flat)))
        mixed = sum(kept[:, i, None] * expert(flat) for i, expert in enumerate(self.experts))
        return h + mixed.view_as(h)


def _shifted(h):
    return torch.cat([torch.zeros_like(h[:1]), h[:-1]])


def _first_differs(h):
    return torch.cat([h[:1] * 2, h[1:]])


LEAKS = {
    "cumsum": lambda: lambda h: h.cumsum(0).tanh(),
    "cumsum from the end": lambda: lambda h: h.flip(0).cumsum(0).flip(0).tanh(),
    "cumulative maximum": lambda: lambda h: h.cummax(0).values,
    "roll": lambda: lambda h: h + h.roll(1, 0),
    "shift": lambda: lambda h: h + _shifted(h),
    "only the one before": lambda: lambda h: _shifted(h) + h.detach(),
    "reversed": lambda: lambda h: h.flip(0),
    "first row": lambda: _first_differs,
    "first example added": lambda: lambda h: h + h[:1],
    "last example added": lambda: lambda h: h + h[-1:].tanh(),
    "mean over axis 0": lambda: lambda h: h - h.mean(0),
    "batch statistics": lambda: lambda h: (h - h.mean((0, 1))) / (h.std((0, 1)) + 1e-5),
    "functional batch norm": lambda: lambda h: functional.batch_norm(h.mT, None, None, training=True).mT,
    "norm of the batch": lambda: lambda h: h / h.norm(),
    "maximum of the batch": lambda: lambda h: h / (1 + h.abs().amax()),
    "detached statistics": lambda: lambda h: h * h.detach().square().mean(),
    "softmax over axis 0": lambda: lambda h: h * h.softmax(0),
    "sorted": lambda: lambda h: h.sort(0).values,
    "rank": lambda: lambda h: h * h.argsort(0).argsort(0),
    "contrast": lambda: lambda h: h + (h.flatten(1) @ h.flatten(1).T).softmax(1).mean(1)[:, None, None],
    "place in the batch": lambda: lambda h: h * torch.arange(len(h))[:, None, None],
    "size of the batch": lambda: lambda h: h / len(h),
    "merged in the wrong order": lambda: lambda h: h.transpose(0, 1).reshape(h.shape).tanh(),
    "attention": lambda: WrongAxis(nn.MultiheadAttention(WIDTH, 2)),
    "causal attention": lambda: WrongAxis(nn.MultiheadAttention(WIDTH, 2), causal=True),
    "transformer": lambda: WrongAxis(nn.TransformerEncoderLayer(WIDTH, 2, 8)),
    "causal transformer": lambda: WrongAxis(nn.TransformerEncoderLayer(WIDTH, 2, 8), causal=True),
    "lstm": lambda: WrongAxis(nn.LSTM(WIDTH, WIDTH)),
    "both-way gru": lambda: WrongAxis(nn.GRU(WIDTH, WIDTH // 2, bidirectional=True)),
    "convolution": BatchConvolution,
    "capacity": lambda: Experts(lambda _: 7),
    "capacity by share": lambda: Experts(lambda positions: positions // 3),
}


@pytest.mark.parametrize("method", ["auto", "factored", "matrix_free", "dense"])
@pytest.mark.parametrize("name", LEAKS)
def test_examples_that_influence_one_another_are_refused(name, method):
    model = _weights(lambda: Layered(LEAKS[name]())).double().eval()
    x = torch.randn(9, LENGTH, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.raises(tl.UnsupportedModelError):
        tl.entk(model, x, method=method)


def test_influence_that_shows_in_a_long_batch_only_is_refused():
    model = _weights(lambda: Layered(Experts(lambda _: 30))).double().eval()
    x = torch.randn(40, LENGTH, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with pytest.raises(tl.TangentlensError):
        tl.entk(model, x)


@pytest.mark.parametrize("between", [torch.tanh, lambda h: h.flip(0).tanh().flip(0), lambda h: h + h.mean(1, True)])
def test_examples_that_do_not_are_accepted(between):
    model = _weights(lambda: Layered(between)).double().eval()
    x = torch.randn(9, LENGTH, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert tl.entk(model, x).total.dense().shape == (9, 9)
