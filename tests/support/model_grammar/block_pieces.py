"""Blocks as they stand in well-known architectures."""

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.raw_pieces import raw
from tests.support.model_grammar.registry import piece


@piece("squeeze and excite", "block")
class SqueezeExcite(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(d, 2), nn.ReLU(), nn.Linear(2, d), nn.Sigmoid())

    def forward(self, h):
        return h * self.gate(h.mean(1)).unsqueeze(1)


@piece("conditional norm", "block")
class ConditionalNorm(nn.Module):
    """Scale and shift from the first position, as in FiLM and diffusion transformers."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.norm, self.condition = nn.LayerNorm(d, elementwise_affine=False), nn.Linear(d, 2 * d)

    def forward(self, h):
        scale, shift = self.condition(h[:, 0]).chunk(2, -1)
        return self.norm(h) * (1 + scale[:, None]) + shift[:, None]


@piece("pre-norm block", "block")
class PreNormBlock(nn.Module):
    """RMS norm, rotary-free attention with grouped queries, RMS norm, SwiGLU."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(d), nn.RMSNorm(d)])
        self.q, self.kv, self.o = nn.Linear(d, d), nn.Linear(d, d, bias=False), nn.Linear(d, d)
        self.gate_up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(2 * d, d, bias=False)

    def forward(self, h):
        n, t, _ = h.shape
        x = self.norms[0](h)
        q = self.q(x).view(n, t, 2, -1).transpose(1, 2)
        k, v = self.kv(x).view(n, t, 2, 1, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        h = h + self.o(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norms[1](h)).chunk(2, -1)
        return h + self.down(functional.silu(gate) * up)


@piece("class token inside", "block")
class InnerToken(nn.Module):
    """A token put before a sequence-first sequence, and taken away again."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.token, self.layer = raw(1, 1, d), nn.TransformerEncoderLayer(d, 2, 5)

    def forward(self, h):
        x = torch.cat([self.token.expand(-1, len(h), -1), h.transpose(0, 1)])
        x = self.layer(x)
        return (x[1:] + x[:1]).transpose(0, 1)


@piece("shifted windows", "block")
class ShiftedWindows(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.attention, self.parts = nn.MultiheadAttention(d, 2, batch_first=True), 2 if T % 2 == 0 else 1

    def forward(self, h):
        n, t, d = h.shape
        x = h.roll(1, 1).reshape(n * self.parts, t // self.parts, d)
        return h + self.attention(x, x, x, need_weights=False)[0].reshape(n, t, d).roll(-1, 1)


@piece("linear attention", "block")
class LinearAttention(nn.Module):
    """Sums over the positions before, without a softmax."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.qkv = nn.Linear(d, 3 * d)

    def forward(self, h):
        q, k, v = self.qkv(h).chunk(3, -1)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        states = torch.einsum("ntd,nte->ntde", k, v).cumsum(1)
        return torch.einsum("ntd,ntde->nte", q, states) / torch.einsum("ntd,ntd->nt", q, k.cumsum(1))[..., None]


@piece("selective scan", "block")
class SelectiveScan(nn.Module):
    """A state-space layer whose steps depend on the input, as in Mamba."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.enter, self.conv = nn.Linear(d, 2 * d, bias=False), nn.Conv1d(d, d, 3, padding=2, groups=d)
        self.select, self.step = nn.Linear(d, 1 + 2 * 2, bias=False), nn.Linear(1, d)
        self.A_log, self.D = nn.Parameter(torch.arange(1.0, 3.0).log().repeat(d, 1)), nn.Parameter(torch.ones(d))

    def forward(self, h):
        x, gate = self.enter(h).chunk(2, -1)
        x = functional.silu(self.conv(x.transpose(1, 2))[..., : h.shape[1]]).transpose(1, 2)
        step, B, C = self.select(x).split([1, 2, 2], -1)
        step, A = functional.softplus(self.step(step)), -torch.exp(self.A_log)
        state, outputs = h.new_zeros(len(h), h.shape[2], 2), []
        for t in range(h.shape[1]):
            decay = torch.exp(step[:, t, :, None] * A)
            state = decay * state + (step[:, t] * x[:, t])[..., None] * B[:, t, None]
            outputs.append((state @ C[:, t, :, None])[..., 0])
        return (torch.stack(outputs, 1) + x * self.D) * functional.silu(gate)


@piece("time mixing", "block")
class TimeMixing(nn.Module):
    """Each position mixed with the one before by learned shares, as in RWKV."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.share, self.receive, self.value = nn.Parameter(torch.rand(1, 1, d)), nn.Linear(d, d), nn.Linear(d, d)
        self.shift = nn.ZeroPad2d((0, 0, 1, -1))

    def forward(self, h):
        before = self.shift(h)
        mixed = h * self.share + before * (1 - self.share)
        return torch.sigmoid(self.receive(mixed)) * self.value(before)


@piece("graph layer", "block")
class GraphLayer(nn.Module):
    """Positions as nodes of one graph."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.own = nn.Linear(d, d, bias=False), nn.Linear(d, d)
        self.register_buffer("adjacency", (torch.rand(T, T) < 0.5).float())

    def forward(self, h):
        return torch.relu(self.adjacency @ self.layer(h) + self.own(h))


@piece("splines", "block")
class Splines(nn.Module):
    """A sum of basis functions for each pair of channels, as in Kolmogorov-Arnold networks."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.coefficients, self.base = nn.Parameter(torch.randn(d, d, 4) / d), raw(d, d)
        self.register_buffer("centres", torch.linspace(-1, 1, 4))

    def forward(self, h):
        basis = torch.exp(-((h[..., None] - self.centres) ** 2) * 2)
        return torch.einsum("ntik,oik->nto", basis, self.coefficients) + functional.linear(
            functional.silu(h), self.base
        )


@piece("euler steps", "block")
class EulerSteps(nn.Module):
    """One field used at every step of time, which is an input too."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.field, self.steps = nn.Sequential(nn.Linear(d + 1, d), nn.Tanh(), nn.Linear(d, d)), draw.choice([2, 4])

    def forward(self, h):
        for step in range(self.steps):
            time = h.new_full((*h.shape[:2], 1), step / self.steps)
            h = h + self.field(torch.cat([h, time], -1)) / self.steps
        return h


@piece("bottleneck", "block")
class Bottleneck(nn.Module):
    """A residual block of convolutions with norms of stored statistics."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(d, 2, 1, bias=False),
            nn.BatchNorm1d(2),
            nn.ReLU(inplace=True),
            nn.Conv1d(2, 2, 3, padding=1, bias=False),
            nn.BatchNorm1d(2),
            nn.ReLU(inplace=True),
            nn.Conv1d(2, d, 1),
        )

    def forward(self, h):
        return functional.relu(h + self.layers(h.transpose(1, 2)).transpose(1, 2), inplace=True)


@piece("example by example", "block", strict=False)
class ExampleByExample(nn.Module):
    """A Python loop over the batch."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        return torch.stack([self.layer(x).tanh() for x in h])
