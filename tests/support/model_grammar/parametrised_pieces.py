"""Weights that are not parameters themselves, and weights that are used at several places."""

import torch
import torch.nn.functional as functional
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from tests.support.model_grammar.raw_pieces import raw
from tests.support.model_grammar.registry import piece


@piece("weight norm", "parametrised")
class WeightNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = parametrizations.weight_norm(nn.Linear(d, d), dim=draw.choice([0, 1]))

    def forward(self, h):
        return self.layer(h).tanh()


@piece("spectral norm", "parametrised")
class SpectralNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = parametrizations.spectral_norm(nn.Linear(d, d))

    def forward(self, h):
        return self.layer(h).tanh()


class _LowRank(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.U, self.V = raw(d, 2), raw(2, d)

    def forward(self, W):
        return W + self.U @ self.V


@piece("low-rank parametrisation", "parametrised")
class Adapter(nn.Module):
    """An update of low rank, the weight itself frozen or not."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)
        parametrize.register_parametrization(self.layer, "weight", _LowRank(d))
        self.layer.parametrizations.weight.original.requires_grad_(draw.random() < 0.5)

    def forward(self, h):
        return self.layer(h).tanh()


class _Symmetric(nn.Module):
    def forward(self, W):
        return W.triu() + W.triu(1).mT


@piece("symmetric parametrisation", "parametrised")
class Symmetric(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = parametrize.register_parametrization(nn.Linear(d, d), "weight", _Symmetric())

    def forward(self, h):
        return self.layer(h).tanh()


@piece("adapter by hand", "parametrised")
class AdapterByHand(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.base, self.down, self.up = nn.Linear(d, d), nn.Linear(d, 2, bias=False), nn.Linear(2, d, bias=False)
        self.base.requires_grad_(draw.random() < 0.5)

    def forward(self, h):
        return (self.base(h) + 0.5 * self.up(self.down(h))).tanh()


@piece("tied autoencoder", "tie")
class TiedAutoencoder(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.bias = nn.Linear(d, 3), nn.Parameter(torch.zeros(d))

    def forward(self, h):
        return functional.linear(self.layer(h).tanh(), self.layer.weight.t(), self.bias)


@piece("tied linears", "tie")
class TiedLinears(nn.Module):
    """Two layers with one weight, one of them sequence-first."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.first, self.second = nn.Linear(d, d), nn.Linear(d, d)
        self.second.weight = self.first.weight
        self.turned = draw.random() < 0.5

    def forward(self, h):
        h = self.first(h).tanh()
        return self.second(h.transpose(0, 1)).transpose(0, 1).tanh() if self.turned else self.second(h).sin()


@piece("layer used twice", "tie")
class UsedTwice(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.norm = nn.Linear(d, d), nn.LayerNorm(d)
        self.inner, self.times = nn.Linear(d, d), draw.choice([2, 3])

    def forward(self, h):
        for _ in range(self.times):
            h = h + self.layer(self.norm(h)).relu()
        return self.inner(h) * self.inner(h[:, :1])


@piece("shared at several places", "tie")
class SharedPlaces(nn.Module):
    """One weight on merged positions, on single positions and on the mean."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        merged = self.layer(h.transpose(0, 1).reshape(-1, h.shape[2])).view(h.shape[1], -1, h.shape[2])
        return merged.transpose(0, 1).tanh() + self.layer(h[:, 0])[:, None] + self.layer(h.mean(1, keepdim=True))
