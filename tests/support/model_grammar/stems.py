"""Stems: from inputs to activations (N, T, d)."""

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.registry import STEMS, word

VOCABULARY = 7


def _tokens(n, T, generator):
    return torch.randint(0, VOCABULARY, (n, T), generator=generator)


def _normal(*shape, generator):
    return torch.randn(*shape, generator=generator)


@word(STEMS, "dense", "linear")
class DenseStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.embed = T, nn.Linear(3, d)

    def example(self, n, generator):
        return _normal(n, self.T, 3, generator=generator)

    def forward(self, x):
        return self.embed(x)


@word(STEMS, "flat", "linear")
class FlatStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.shape, self.embed = (T, d), nn.Linear(4, T * d)

    def example(self, n, generator):
        return _normal(n, 4, generator=generator)

    def forward(self, x):
        return self.embed(x).view(-1, *self.shape)


@word(STEMS, "tokens", "embedding")
class TokenStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T = T
        self.embedding = nn.Embedding(VOCABULARY, d, padding_idx=draw.choice([None, None, 0]))

    def example(self, n, generator):
        return _tokens(n, self.T, generator)

    def forward(self, tokens):
        return self.embedding(tokens)


@word(STEMS, "tokens and positions", "embedding")
class PositionStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.form = T, draw.choice(["embedding", "slice", "index", "expand"])
        self.embedding, self.positions = nn.Embedding(VOCABULARY, d), nn.Embedding(T + 2, d)
        self.norm = nn.LayerNorm(d) if draw.random() < 0.4 else nn.Identity()

    def example(self, n, generator):
        return _tokens(n, self.T, generator)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        if self.form == "embedding":
            positions = self.positions(places)
        elif self.form == "slice":
            positions = self.positions.weight[: tokens.shape[1]]
        elif self.form == "index":
            positions = self.positions.weight[places][None]
        else:
            positions = self.positions(places.expand(tokens.shape))
        return self.norm(self.embedding(tokens) + positions)


@word(STEMS, "raw embedding", "embedding")
class RawEmbeddingStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.W_E, self.W_pos = T, nn.Parameter(torch.randn(VOCABULARY, d)), nn.Parameter(torch.randn(T, d))
        self.one_hot = draw.random() < 0.4

    def example(self, n, generator):
        return _tokens(n, self.T, generator)

    def forward(self, tokens):
        if self.one_hot:
            return functional.one_hot(tokens, VOCABULARY).to(self.W_E.dtype) @ self.W_E + self.W_pos
        return self.W_E[tokens] + self.W_pos[None, : tokens.shape[1]]


@word(STEMS, "series", "convolution")
class SeriesStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.embed = T, nn.Conv1d(2, d, 3, padding=1, bias=draw.random() < 0.5)

    def example(self, n, generator):
        return _normal(n, 2, self.T, generator=generator)

    def forward(self, x):
        return self.embed(x).transpose(1, 2)


@word(STEMS, "patches", "convolution")
class PatchStem(nn.Module):
    """A vision transformer's: a strided convolution, a class token, positions."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.size = (2, 2 * (T - 1)) if T > 1 else (2, 2)
        self.bare = T == 1
        self.embed = nn.Conv2d(3, d, 2, stride=2)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, T, d))
        self.behind = draw.random() < 0.2

    def example(self, n, generator):
        return _normal(n, 3, *self.size, generator=generator)

    def forward(self, x):
        patches = self.embed(x).flatten(2).transpose(1, 2)
        if self.bare:
            return patches + self.positions
        token = self.token.expand(len(x), -1, -1)
        return torch.cat([patches, token] if self.behind else [token, patches], 1) + self.positions


@word(STEMS, "picture", "convolution")
class PictureStem(nn.Module):
    """A small convolutional net whose channels are the positions."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.d, self.first, self.second = d, nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, T, 2, stride=2, dilation=1)
        self.norm = nn.BatchNorm2d(3)

    def example(self, n, generator):
        return _normal(n, 1, 4, self.d, generator=generator)

    def forward(self, x):
        return self.second(functional.gelu(self.norm(self.first(x)))).flatten(2)


@word(STEMS, "volume", "convolution")
class VolumeStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.embed = T, nn.Conv3d(1, d, (2, 2, 1), groups=1)

    def example(self, n, generator):
        return _normal(n, 1, 2, 2, self.T, generator=generator)

    def forward(self, x):
        return self.embed(x).flatten(2).transpose(1, 2)


@word(STEMS, "two inputs", "linear")
class TwoInputsStem(nn.Module):
    """A tuple or a dict of tokens and numbers."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.named = T, draw.random() < 0.5
        self.embedding, self.embed = nn.Embedding(VOCABULARY, d), nn.Linear(2, d)

    def example(self, n, generator):
        pair = _tokens(n, self.T, generator), _normal(n, self.T, 2, generator=generator)
        return {"tokens": pair[0], "values": pair[1]} if self.named else pair

    def forward(self, tokens, values):
        return self.embedding(tokens) + self.embed(values).tanh()


@word(STEMS, "frozen embedding", "frozen")
class FrozenStem(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.embedding = T, nn.Embedding(VOCABULARY, d).requires_grad_(False)

    def example(self, n, generator):
        return _tokens(n, self.T, generator)

    def forward(self, tokens):
        return self.embedding(tokens)


@word(STEMS, "bag", "embedding", strict=False)  # torch differentiates it only once: no matrix-free products
class BagStem(nn.Module):
    """A bag of tokens, repeated at every position."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.T, self.bag = T, nn.EmbeddingBag(VOCABULARY, d, mode=draw.choice(["sum", "mean", "max"]))
        self.positions = nn.Parameter(torch.randn(T, d))

    def example(self, n, generator):
        return _tokens(n, self.T, generator)

    def forward(self, tokens):
        return self.bag(tokens)[:, None] + self.positions
