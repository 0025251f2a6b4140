"""Attention as people write it by hand."""

import math

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.registry import piece


@piece("scaled_dot_product_attention", "attention by hand")
class FusedCall(nn.Module):
    """One projection to queries, keys and values as in nanoGPT, or grouped queries."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=draw.random() < 0.5), nn.Linear(d, d)
        self.causal, self.grouped = draw.random() < 0.5, draw.random() < 0.3

    def forward(self, h):
        n, t, d = h.shape
        q, k, v = (x.view(n, t, 2, d // 2).transpose(1, 2) for x in self.qkv(h).chunk(3, 2))
        if self.grouped:
            k, v = (x[:, :1].expand(-1, 2, -1, -1) for x in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return h + self.out(mixed.transpose(1, 2).reshape(n, t, d))


@piece("matmul attention", "attention by hand")
class MatmulAttention(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(d, d, bias=draw.random() < 0.5) for _ in range(3))
        self.mask = draw.random() < 0.5

    def forward(self, h):
        scores = self.q(h) @ self.k(h).mT / math.sqrt(h.shape[2])
        if self.mask:
            hidden = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        return h + scores.softmax(-1) @ self.v(h)


@piece("bmm attention, heads in the batch", "attention by hand")
class BmmAttention(nn.Module):
    """Heads merged into the batch axis, head-major or example-major, with a linear layer that they share."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.qkv, self.head = nn.Linear(d, 3 * d), nn.Linear(d // 2, d // 2)
        self.head_major = draw.random() < 0.5

    def forward(self, h):
        n, t, d = h.shape
        if self.head_major:
            q, k, v = (torch.cat(x.split(d // 2, 2)) for x in self.qkv(h).chunk(3, 2))
        else:
            q, k, v = (
                x.view(n, t, 2, d // 2).transpose(1, 2).reshape(2 * n, t, d // 2) for x in self.qkv(h).chunk(3, 2)
            )
        mixed = self.head(torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), 2), v))
        if self.head_major:
            return h + torch.cat(mixed.split(n), 2)
        return h + mixed.view(n, 2, t, d // 2).transpose(1, 2).reshape(n, t, d)


@piece("einsum attention", "attention by hand")
class EinsumAttention(nn.Module):
    """Raw parameters with a head axis, as in TransformerLens."""

    def __init__(self, draw, d, T):
        super().__init__()
        shape = (2, d, d // 2)
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.randn(shape) / math.sqrt(d)) for _ in range(3))
        self.W_O, self.b_Q = (
            nn.Parameter(torch.randn(2, d // 2, d) / math.sqrt(d)),
            nn.Parameter(torch.randn(2, d // 2)),
        )
        self.first = draw.random() < 0.5

    def forward(self, h):
        if self.first:
            h = h.transpose(0, 1)
            q = torch.einsum("tnd,hde->tnhe", h, self.W_Q) + self.b_Q
            k, v = (torch.einsum("tnd,hde->tnhe", h, W) for W in (self.W_K, self.W_V))
            pattern = torch.einsum("tnhe,snhe->nhts", q, k).softmax(-1)
            return (h + torch.einsum("nhts,snhe,hed->tnd", pattern, v, self.W_O)).transpose(0, 1)
        q = torch.einsum("ntd,hde->nthe", h, self.W_Q) + self.b_Q
        k, v = (torch.einsum("ntd,hde->nthe", h, W) for W in (self.W_K, self.W_V))
        pattern = torch.einsum("nthe,nshe->nhts", q, k).softmax(-1)
        return h + torch.einsum("nhts,nshe,hed->ntd", pattern, v, self.W_O)


@piece("relative positions", "attention by hand")
class RelativePositions(nn.Module):
    """A bias looked up by the distance of two positions, for each head."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.bias, self.qk = nn.Embedding(2 * T - 1, 2), nn.Linear(d, 2 * d, bias=False)

    def forward(self, h):
        n, t, d = h.shape
        places = torch.arange(t, device=h.device)
        bias = self.bias(places[:, None] - places + t - 1).permute(2, 0, 1)
        q, k = (x.view(n, t, 2, d // 2).transpose(1, 2) for x in self.qk(h).chunk(2, 2))
        values = h.view(n, t, 2, d // 2).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(q, k, values, attn_mask=bias[None].expand(n, -1, -1, -1))
        return mixed.transpose(1, 2).reshape(n, t, d)


@piece("rotary attention", "attention by hand")
class Rotary(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.register_buffer("angles", torch.outer(torch.arange(T), 10.0 ** -torch.arange(d // 2)))

    def _rotate(self, x):
        a, b = x.chunk(2, -1)
        cos, sin = self.angles[: x.shape[1]].cos(), self.angles[: x.shape[1]].sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def forward(self, h):
        q, k = self._rotate(self.q(h)), self._rotate(self.k(h))
        return h + functional.scaled_dot_product_attention(q, k, self.v(h), is_causal=True)
