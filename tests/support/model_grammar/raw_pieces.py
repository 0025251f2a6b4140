"""Raw parameters through einsum, indexing, slices, reshapes, casts and products; scalars."""

import math

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.registry import piece


def raw(*shape):
    """A parameter of that shape whose products with unit activations have unit size."""
    return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-1]))


@piece("matmul", "raw")
class Matmul(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.b = raw(d, d), raw(d)
        self.form = draw.choice(["plain", "transposed", "row", "column", "addmm", "contiguous"])

    def forward(self, h):
        if self.form == "plain":
            return torch.tanh(h @ self.W + self.b)
        if self.form == "transposed":
            return torch.tanh(h @ self.W.T - self.b)
        if self.form == "row":
            return torch.tanh(torch.matmul(self.W, h.mT).mT + self.b[None, None])
        if self.form == "column":
            return torch.tanh((self.W @ h[..., None])[..., 0]) + self.b
        if self.form == "addmm":
            return torch.addmm(self.b, h.reshape(-1, h.shape[2]), self.W).view(h.shape).tanh()
        return torch.tanh(torch.tensordot(h, self.W.t().contiguous(), 1) + self.b)


@piece("einsum", "raw")
class Einsum(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.A, self.B = raw(d, d), raw(d, d)
        self.form = draw.choice(["ntd,de->nte", "...d,de->...e", "ntd,ed->nte", "de,tnd->tne", "chain", "diagonal"])

    def forward(self, h):
        if self.form == "chain":
            return torch.einsum("ntd,de,ef->ntf", h, self.A, self.B).tanh()
        if self.form == "diagonal":
            return h * torch.einsum("ii->i", self.A) + torch.einsum("ntd,ij->ntd", h, self.B) / 9
        if self.form == "de,tnd->tne":
            return torch.einsum(self.form, self.A, h.transpose(0, 1)).transpose(0, 1).tanh()
        return torch.einsum(self.form, h, self.A).tanh()


@piece("slices", "raw")
class Slices(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.P = raw(d + 3, 2 * d), raw(T + 4, d)

    def forward(self, h):
        d, t = h.shape[2], h.shape[1]
        return torch.tanh(h @ self.W[1 : d + 1, ::2] + h @ self.W[:d, d:]) + self.P[2 : t + 2]


@piece("reshaped", "raw")
class Reshaped(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.s = raw(d * d), raw(d, 1, 1)
        self.form = draw.choice(["view", "permute", "flip", "unfold"])

    def forward(self, h):
        d = h.shape[2]
        W = self.W.view(d, d)
        if self.form == "permute":
            W = self.W.reshape(2, d // 2, d).permute(1, 0, 2).reshape(d, d)
        elif self.form == "flip":
            W = self.W.view(d, d).flip(0)
        elif self.form == "unfold":
            W = self.W.unfold(0, d, d)
        return torch.tanh(h @ W) * self.s.squeeze()


@piece("cast", "raw")
class Cast(nn.Module):
    """Computed in double and cast back."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.W = raw(d, d)

    def forward(self, h):
        return torch.tanh(h.double() @ self.W.double()).to(h.dtype)


@piece("stacked parameters", "raw")
class StackedParameters(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.rows = nn.ParameterList([raw(d) for _ in range(d)])
        self.tail = raw(2, d)
        self.form = draw.choice(["stack", "cat"])

    def forward(self, h):
        if self.form == "stack":
            return torch.tanh(h @ torch.stack(tuple(self.rows)))
        W = torch.cat([torch.stack(tuple(self.rows)), self.tail])
        return torch.tanh(functional.linear(h, W)[..., 2:])


@piece("expanded", "raw")
class Expanded(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.token, self.gain = raw(1, 1, d), raw(1, T, 1)

    def forward(self, h):
        n, t, d = h.shape
        token = self.token.expand(n, t, d)
        return torch.tanh(h * token + token) * (1 + self.gain.expand(n, t, d)) + self.token.repeat(n, 1, 1)


@piece("table by index", "raw")
class Table(nn.Module):
    """Rows of a parameter picked by each example's own numbers."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.table, self.form = raw(4, d), draw.choice(["index", "select", "embedding", "gather", "one hot"])

    def forward(self, h):
        places = (h[..., 0].detach() > 0).long() + 2 * (h[..., 1].detach() > 0).long()
        if self.form == "index":
            return h + self.table[places]
        if self.form == "select":
            return h + self.table.index_select(0, places.flatten()).view(h.shape)
        if self.form == "embedding":
            return h + functional.embedding(places, self.table)
        if self.form == "gather":
            return h + self.table.gather(0, places.reshape(-1, 1).expand(-1, h.shape[2])).view(h.shape)
        return h + functional.one_hot(places, 4).to(h.dtype) @ self.table


@piece("product of parameters", "raw")
class Products(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.U, self.V = raw(d, d), raw(d, 2), raw(2, d)
        self.form = draw.choice(["low rank", "gram", "update"])

    def forward(self, h):
        if self.form == "gram":
            return torch.tanh(h @ (self.W.T @ self.W))
        if self.form == "update":
            return torch.tanh(functional.linear(h, self.W + 0.5 * self.U @ self.V))
        return torch.tanh(h @ self.U @ self.V)


@piece("masked parameter", "raw")
class Masked(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.fill = raw(d, d), raw(d)
        self.register_buffer("mask", (torch.rand(d, d) < 0.6).float())

    def forward(self, h):
        return torch.where(h > 0, h, self.fill) @ (self.W * self.mask.to(self.W.dtype))


@piece("batched matmul over positions", "raw")
class PerPosition(nn.Module):
    """A weight of its own for every position."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.form = raw(T, d, d), draw.choice(["bmm", "baddbmm", "einsum", "matmul"])
        self.b = raw(T, 1, d)

    def forward(self, h):
        x = h.transpose(0, 1)
        if self.form == "bmm":
            return torch.bmm(x, self.W).tanh().transpose(0, 1) + self.b[:, 0]
        if self.form == "baddbmm":
            return torch.baddbmm(self.b, x, self.W).tanh().transpose(0, 1)
        if self.form == "einsum":
            return torch.einsum("ntd,tde->nte", h, self.W).tanh()
        return (h[:, :, None] @ self.W)[:, :, 0].tanh() + self.b.squeeze(1)


@piece("scalar", "scalar")
class Scalar(nn.Module):
    """0-dim parameters: scale, temperature, gate, exponent."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(draw.choice([0.0, 1.0, 0.7])))
        self.form = draw.choice(["scale", "temperature", "exponent", "gate", "bias", "alpha"])

    def forward(self, h):
        if self.form == "scale":
            return h + h.tanh() * self.scale
        if self.form == "temperature":
            return h + torch.softmax(h / (self.scale + 0.5), -1)
        if self.form == "exponent":
            return h * self.scale.exp()
        if self.form == "gate":
            return torch.lerp(h, h.tanh(), torch.sigmoid(self.scale))
        if self.form == "alpha":
            return torch.tanh(self.scale * h) + h
        return h.sin() - self.scale


@piece("one-element scale", "scalar")
class OneElement(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(1)), nn.Linear(d, d)
        self.gain = nn.Parameter(torch.full((d,), 0.3))

    def forward(self, h):
        return h + self.gain * self.layer(self.scale * h).tanh()


@piece("experts", "raw")
class Experts(nn.Module):
    """A soft mixture of experts through one einsum."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.router, self.W = nn.Linear(d, 3), raw(3, d, d)

    def forward(self, h):
        return h + torch.einsum("nte,ntd,edf->ntf", self.router(h).softmax(-1), h, self.W)


@piece("in place", "raw")
class InPlace(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.shift = nn.Linear(d, d), raw(d)

    def forward(self, h):
        h = self.layer(h)
        h += self.shift
        h[:, 0] = h[:, 0] * 0.5
        return torch.relu_(h) + 0.1


@piece("batch reversed inside", "view", strict=False)
class Reversed(nn.Module):
    """Examples in another order inside, and back: nothing flows between them."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        return self.layer(h.flip(0)).tanh().flip(0)
