"""Linear layers, norms, embeddings of activations, and the layouts in which models call them."""

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.registry import piece


@piece("linear", "linear")
class Linear(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d, bias=draw.random() < 0.7)
        self.activation = draw.choice([nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Identity(), nn.ReLU()])

    def forward(self, h):
        return self.activation(self.layer(h))


@piece("mlp", "linear")
class Mlp(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, h):
        return h + self.down(functional.gelu(self.up(h)))


@piece("gated mlp", "linear")
class GatedMlp(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.gate, self.up, self.down = (nn.Linear(d, d, bias=False) for _ in range(3))

    def forward(self, h):
        return self.down(functional.silu(self.gate(h)) * self.up(h))


@piece("token mixing", "linear")
class TokenMixing(nn.Module):
    """A linear layer over positions, as in an MLP-mixer."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.mix = nn.Linear(T, T)

    def forward(self, h):
        return h + self.mix(h.transpose(1, 2)).tanh().transpose(1, 2)


@piece("bilinear", "linear")
class Bilinear(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.form = nn.Bilinear(d, d, d)

    def forward(self, h):
        return self.form(h, h.tanh())


@piece("linear over flattened example", "linear")
class FlattenedExample(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(T * d, T * d)

    def forward(self, h):
        return h + self.layer(h.flatten(1)).tanh().view_as(h)


@piece("position-major linear", "view")
class PositionMajor(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        n, t, d = h.shape
        return self.layer(h.transpose(0, 1).reshape(t * n, d)).tanh().view(t, n, d).transpose(0, 1)


@piece("sequence-first linear", "view")
class SequenceFirst(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        return self.layer(h.transpose(0, 1)).tanh().transpose(0, 1)


@piece("example-major linear", "view")
class ExampleMajor(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        return self.layer(h.reshape(-1, h.shape[2])).tanh().view(h.shape)


@piece("two views, one used", "view")
class TwoViews(nn.Module):
    """Two copies of the batch in one call, example-major and position-major or twice the same; one or both used."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)
        self.same, self.used = draw.random() < 0.5, draw.choice([0, 1, 2])

    def forward(self, h):
        n, t, d = h.shape
        other = h if self.same else h.transpose(0, 1)
        both = self.layer(torch.cat([h.reshape(-1, d), other.reshape(-1, d)])).tanh()
        one = both[: n * t].view(n, t, d)
        two = both[n * t :].view(n, t, d) if self.same else both[n * t :].view(t, n, d).transpose(0, 1)
        return (one, two, one + 0.5 * two)[self.used]


@piece("siamese", "view")
class Siamese(nn.Module):
    """Two variants of the batch behind one another along the batch axis."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        one, two = self.layer(torch.cat([h, -h.flip(1)])).tanh().chunk(2)
        return one * two


@piece("stacked variants", "view")
class Stacked(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.axis, self.used = nn.Linear(d, d), draw.choice([0, 1, 2]), draw.choice([0, 1])

    def forward(self, h):
        return self.layer(torch.stack([h, h.tanh()], self.axis)).sin().select(self.axis, self.used)


@piece("heads merged into the batch", "view")
class MergedHeads(nn.Module):
    """Halves of the width moved into the batch axis, before or behind the examples."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.head_major = nn.Linear(d // 2, d // 2), draw.random() < 0.5

    def forward(self, h):
        n, t, d = h.shape
        if self.head_major:
            return torch.cat(self.layer(torch.cat(h.split(d // 2, 2))).tanh().split(n), 2)
        parts = h.view(n, t, 2, d // 2).transpose(1, 2).reshape(n * 2, t, d // 2)
        return self.layer(parts).tanh().view(n, 2, t, d // 2).transpose(1, 2).reshape(n, t, d)


@piece("windows merged into the batch", "view")
class Windows(nn.Module):
    """Halves of the sequence moved into the batch axis, as in shifted-window transformers."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.major = nn.Linear(d, d), draw.random() < 0.5
        self.parts = 2 if T % 2 == 0 else 1

    def forward(self, h):
        n, t, d = h.shape
        parts = h.view(n, self.parts, t // self.parts, d)
        if self.major:
            mixed = self.layer(parts.transpose(0, 1).reshape(n * self.parts, -1, d)).tanh()
            return mixed.view(self.parts, n, -1, d).transpose(0, 1).reshape(n, t, d)
        return self.layer(parts.reshape(n * self.parts, -1, d)).tanh().view(n, t, d)


@piece("loop over positions", "view")
class Loop(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.tail = nn.Linear(d, d), draw.random() < 0.5

    def forward(self, h):
        steps = [self.layer(step).tanh() for step in h.unbind(1)]
        return torch.stack(steps[::-1] if self.tail else steps, 1)


@piece("layer norm", "norm")
class LayerNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.norm = nn.LayerNorm(draw.choice([d, (T, d)]), elementwise_affine=draw.random() < 0.9)

    def forward(self, h):
        return self.norm(h)


@piece("rms norm", "norm")
class RmsNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.norm = nn.RMSNorm(d, eps=draw.choice([None, 1e-5]))

    def forward(self, h):
        return self.norm(h)


@piece("batch norm", "norm")
class BatchNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.norm, self.flat = nn.BatchNorm1d(d), draw.random() < 0.5
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, h):
        if self.flat:
            return self.norm(h.reshape(-1, h.shape[2])).view(h.shape)
        return self.norm(h.transpose(1, 2)).transpose(1, 2)


@piece("group norm", "norm")
class GroupNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.norm = nn.GroupNorm(draw.choice([1, 2]), d)

    def forward(self, h):
        return self.norm(h.transpose(1, 2)).transpose(1, 2)


@piece("instance norm", "norm")
class InstanceNorm(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.norm = nn.InstanceNorm2d(T, affine=True, track_running_stats=draw.random() < 0.5)

    def forward(self, h):
        return self.norm(h.unflatten(2, (2, -1))).flatten(2)


@piece("norm by hand", "norm")
class NormByHand(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, h):
        centred = h - h.mean(-1, keepdim=True)
        scaled = centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.gain * scaled + self.shift


@piece("embedding of bins", "linear")
class Bins(nn.Module):
    """Activations sorted into bins whose embeddings are added."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.table = nn.Embedding(5, d, padding_idx=draw.choice([None, 0]))

    def forward(self, h):
        return h + self.table((h[..., 0].detach() > 0).long() + 2 * (h[..., 1].detach() > 0).long())


@piece("prelu", "linear")
class Slope(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.slope = nn.PReLU(draw.choice([1, T]))

    def forward(self, h):
        return self.slope(h)
