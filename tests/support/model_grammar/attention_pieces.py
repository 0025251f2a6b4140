"""Attention and transformers of every kind that torch has."""

import torch
from torch import nn

from tests.support.model_grammar.registry import piece


def _causal(T, like):
    return torch.triu(torch.full((T, T), float("-inf"), dtype=like.dtype, device=like.device), 1)


def _padding(h):
    """True at positions that are padding: never the first, decided by each example's own numbers."""
    mask = h[..., 0].detach() > 0.7
    return torch.cat([torch.zeros_like(mask[:, :1]), mask[:, 1:]], 1)


def _masks(kind, h):
    """attn_mask and key_padding_mask of nn.MultiheadAttention for (N, T, d) activations."""
    T = h.shape[1]
    if kind == "causal":
        return {"attn_mask": _causal(T, h)}
    if kind == "boolean":
        return {"attn_mask": torch.ones(T, T, dtype=torch.bool, device=h.device).triu(1)}
    if kind == "padding":
        return {"key_padding_mask": _padding(h)}
    if kind == "per example":
        bias = -(h[:, :, None, 0] - h[:, None, :, 1]).abs().detach()
        return {"attn_mask": bias.repeat_interleave(2, 0)}
    return {}


@piece("nn.MultiheadAttention", "attention")
class SelfAttention(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.6
        self.mask = draw.choice(["none", "none", "causal", "boolean", "padding", "per example"])
        self.weights = draw.random() < 0.5
        extra = {"bias": draw.random() < 0.8, "add_bias_kv": draw.random() < 0.15, "add_zero_attn": draw.random() < 0.1}
        if self.mask == "per example":
            extra |= {"add_bias_kv": False, "add_zero_attn": False}
        self.layer = nn.MultiheadAttention(d, 2, batch_first=self.first, **extra)

    def forward(self, h):
        x = h if self.first else h.transpose(0, 1)
        y, _ = self.layer(x, x, x, need_weights=self.weights, **_masks(self.mask, h))
        return y if self.first else y.transpose(0, 1)


@piece("nn.MultiheadAttention kdim vdim", "attention")
class CrossAttention(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.5
        self.layer = nn.MultiheadAttention(d, 2, kdim=d // 2, vdim=d // 2 + 1, batch_first=self.first)
        self.memory = draw.choice([1, 2, T])

    def forward(self, h):
        q, k, v = h, h[:, : self.memory, : h.shape[2] // 2], h[:, : self.memory, : h.shape[2] // 2 + 1]
        if self.first:
            return h + self.layer(q, k, v)[0]
        return h + self.layer(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1))[0].transpose(0, 1)


@piece("nn.TransformerEncoderLayer", "transformer")
class EncoderLayer(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.6
        self.layer = nn.TransformerEncoderLayer(
            d,
            2,
            6,
            batch_first=self.first,
            norm_first=draw.random() < 0.5,
            activation=draw.choice(["relu", "gelu"]),
            bias=draw.random() < 0.8,
        )
        self.mask = draw.choice(["none", "none", "causal", "padding"])

    def forward(self, h):
        masks = {}
        if self.mask == "causal":
            masks = {"src_mask": _causal(h.shape[1], h)}
        elif self.mask == "padding":
            masks = {"src_key_padding_mask": _padding(h)}
        if self.first:
            return self.layer(h, **masks)
        return self.layer(h.transpose(0, 1), **masks).transpose(0, 1)


@piece("nn.TransformerEncoder", "transformer")
class Encoder(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.6
        layer = nn.TransformerEncoderLayer(d, 2, 6, batch_first=self.first, norm_first=draw.random() < 0.5)
        norm = nn.LayerNorm(d) if draw.random() < 0.5 else None
        self.layers = nn.TransformerEncoder(layer, draw.choice([1, 2]), norm, enable_nested_tensor=False)
        self.causal = draw.random() < 0.4

    def forward(self, h):
        mask = _causal(h.shape[1], h) if self.causal else None
        if self.first:
            return self.layers(h, mask=mask, is_causal=self.causal)
        return self.layers(h.transpose(0, 1), mask=mask).transpose(0, 1)


@piece("nn.TransformerDecoderLayer", "transformer")
class DecoderLayer(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.5
        self.layer = nn.TransformerDecoderLayer(d, 2, 6, batch_first=self.first, norm_first=draw.random() < 0.5)
        self.memory = nn.Linear(d, d)

    def forward(self, h):
        memory, mask = self.memory(h.flip(1)), _causal(h.shape[1], h)
        if self.first:
            return self.layer(h, memory, tgt_mask=mask)
        return self.layer(h.transpose(0, 1), memory.transpose(0, 1), tgt_mask=mask).transpose(0, 1)


@piece("nn.TransformerDecoder", "transformer")
class Decoder(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.5
        layer = nn.TransformerDecoderLayer(d, 2, 4, batch_first=self.first)
        self.layers = nn.TransformerDecoder(layer, 1, nn.LayerNorm(d) if draw.random() < 0.5 else None)

    def forward(self, h):
        x = h if self.first else h.transpose(0, 1)
        y = self.layers(x, x.tanh())
        return y if self.first else y.transpose(0, 1)


@piece("nn.Transformer", "transformer")
class WholeTransformer(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.first = draw.random() < 0.5
        self.layers = nn.Transformer(d, 2, 1, 1, 5, batch_first=self.first, norm_first=draw.random() < 0.5)
        if self.first:
            self.layers.encoder.enable_nested_tensor = False

    def forward(self, h):
        x = h if self.first else h.transpose(0, 1)
        y = self.layers(x, x.cos(), tgt_mask=_causal(h.shape[1], h))
        return y if self.first else y.transpose(0, 1)


@piece("axial attention", "attention")
class Axial(nn.Module):
    """Attention along the rows and along the columns of a grid of positions, the other axis in the batch."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.rows = max(r for r in (1, 2, 3, 4) if T % r == 0)
        self.along, self.across = (nn.MultiheadAttention(d, 2, batch_first=True) for _ in range(2))
        self.outside = draw.random() < 0.5

    def forward(self, h):
        n, t, d = h.shape
        a, b = self.rows, t // self.rows
        x = h.view(n, a, b, d)
        y = x.reshape(n * a, b, d)
        x = x + self.along(y, y, y)[0].view(n, a, b, d)
        if self.outside:
            y = x.permute(2, 0, 1, 3).reshape(b * n, a, d)
            return (x + self.across(y, y, y)[0].view(b, n, a, d).permute(1, 2, 0, 3)).reshape(n, t, d)
        y = x.transpose(1, 2).reshape(n * b, a, d)
        return (x + self.across(y, y, y)[0].view(n, b, a, d).transpose(1, 2)).reshape(n, t, d)


@piece("learned queries", "attention")
class Queries(nn.Module):
    """Learned latents, expanded over the batch, read the sequence and are read by it."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, 2, d))
        self.read, self.write = (nn.MultiheadAttention(d, 2, batch_first=True) for _ in range(2))

    def forward(self, h):
        latents = self.latents.expand(len(h), -1, -1)
        latents = latents + self.read(latents, h, h)[0]
        return h + self.write(h, latents, latents)[0]
