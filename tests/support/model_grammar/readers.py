"""Readers of positions, from (N, T, d) to (N, width), and heads, from there to outputs (N, C)."""

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.registry import HEADS, READERS, word
from tests.support.model_grammar.stems import VOCABULARY


def _reader(name):
    return word(READERS, name, "reader")


@_reader("first")
class First(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.width = d

    def forward(self, h):
        return h[:, 0]


@_reader("last")
class Last(First):
    def forward(self, h):
        return h[:, -1]


@_reader("mean")
class Mean(First):
    def forward(self, h):
        return h.mean(1)


@_reader("max")
class Max(First):
    def forward(self, h):
        return h.amax(1)


@_reader("some")
class Some(nn.Module):
    """Two positions, or a range, side by side or their sum."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.places, self.form = (draw.randrange(T), draw.randrange(T)), draw.choice(["list", "range", "step"])
        self.width = 2 * d if self.form == "list" else d

    def forward(self, h):
        if self.form == "list":
            return h[:, list(self.places)].flatten(1)
        low, high = sorted(self.places)
        return h[:, low : high + 1].sum(1) if self.form == "range" else h[:, low::2].mean(1)


@_reader("all")
class All(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.width = d * T

    def forward(self, h):
        return h.flatten(1)


@_reader("position by example")
class ByExample(First):
    """The position that each example's own numbers name, as the last token before padding."""

    def forward(self, h):
        places = (h[..., 0].detach() > 0).sum(1).clamp(max=h.shape[1] - 1)
        return h[torch.arange(len(h), device=h.device), places]


@_reader("attention pooling")
class Pooling(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.width, self.query = d, nn.Parameter(torch.randn(d))

    def forward(self, h):
        return torch.einsum("nt,ntd->nd", torch.softmax(h @ self.query, 1), h)


@_reader("sequence-first last")
class SequenceFirstLast(First):
    def forward(self, h):
        return h.transpose(0, 1)[-1]


def _head(name, family):
    return word(HEADS, name, family)


@_head("linear head", "linear")
class LinearHead(nn.Module):
    def __init__(self, draw, width, C):
        super().__init__()
        self.out = nn.Linear(width, C, bias=draw.random() < 0.7)

    def forward(self, r):
        return self.out(r)


@_head("mlp head", "linear")
class MlpHead(nn.Module):
    def __init__(self, draw, width, C):
        super().__init__()
        self.norm, self.hidden, self.out = nn.LayerNorm(width), nn.Linear(width, 5), nn.Linear(5, C)

    def forward(self, r):
        return self.out(self.hidden(self.norm(r)).tanh())


@_head("no head", "view")
class NoHead(nn.Module):
    def __init__(self, draw, width, C):
        super().__init__()
        self.C, self.squeezed = min(C, width), C == 1

    def forward(self, r):
        return r[:, 0] if self.squeezed else r[:, : self.C]


@_head("prototypes", "scalar")
class Prototypes(nn.Module):
    """Cosines with class vectors times exp(logit_scale), as in CLIP."""

    def __init__(self, draw, width, C):
        super().__init__()
        self.classes, self.logit_scale = nn.Parameter(torch.randn(C, width)), nn.Parameter(torch.tensor(1.2))

    def forward(self, r):
        r = r / (r.norm(dim=-1, keepdim=True) + 1e-6)
        classes = self.classes / self.classes.norm(dim=-1, keepdim=True)
        return self.logit_scale.exp() * r @ classes.t()


@_head("temperature", "scalar")
class Temperature(nn.Module):
    def __init__(self, draw, width, C):
        super().__init__()
        self.out, self.temperature = nn.Linear(width, C), nn.Parameter(torch.tensor(1.5))

    def forward(self, r):
        return torch.log_softmax(self.out(r) / self.temperature, -1)


@_head("raw head", "raw")
class RawHead(nn.Module):
    def __init__(self, draw, width, C):
        super().__init__()
        self.W_U, self.b_U = nn.Parameter(torch.randn(width, C)), nn.Parameter(torch.randn(C))

    def forward(self, r):
        return torch.einsum("nd,dc->nc", r, self.W_U) + self.b_U


@_head("tied head", "tie")
class TiedHead(nn.Module):
    """Logits by the stem's own embedding, where it has one of the reader's width."""

    def __init__(self, draw, width, C):
        super().__init__()
        self.C, self.form = C, draw.choice(["linear", "transposed", "einsum"])
        self.W = nn.Parameter(torch.randn(VOCABULARY, width))

    def tie(self, stem):
        weights = [p for name, p in stem.named_parameters() if name in ("embedding.weight", "W_E")]
        self.W = next((p for p in weights if p.shape == self.W.shape), self.W)

    def forward(self, r):
        if self.form == "linear":
            return functional.linear(r, self.W)[:, : self.C]
        return (r @ self.W.T if self.form == "transposed" else torch.einsum("nd,vd->nv", r, self.W))[:, : self.C]
