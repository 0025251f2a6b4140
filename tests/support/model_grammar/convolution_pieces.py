"""Convolutions in one to three dimensions, plain, grouped, strided, dilated, padded and transposed."""

import torch
import torch.nn.functional as functional
from torch import nn

from tests.support.model_grammar.registry import piece


def _fit(x, length):
    """Cut or zero-pad the last axis."""
    return functional.pad(x, (0, max(0, length - x.shape[-1])))[..., :length]


@piece("conv1d", "convolution")
class Conv1d(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        padding = draw.choice([0, 1, 2]) if T > 2 else 1
        size = draw.choice([1, 2, 3]) if T + 2 * padding >= 3 else 1
        dilation = draw.choice([1, 2]) if 2 * (size - 1) + 1 <= T + 2 * padding else 1
        self.layer = nn.Conv1d(
            d,
            d,
            size,
            stride=draw.choice([1, 2]),
            padding=padding,
            dilation=dilation,
            groups=draw.choice([1, 2, d]),
            bias=draw.random() < 0.7,
            padding_mode=draw.choice(["zeros", "reflect", "circular", "replicate"]) if T > 2 else "zeros",
        )

    def forward(self, h):
        x = h.transpose(1, 2)
        return (x + _fit(torch.tanh(self.layer(x)), x.shape[2])).transpose(1, 2)


@piece("causal conv1d", "convolution")
class CausalConv(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Conv1d(d, d, 3, groups=draw.choice([1, d]))

    def forward(self, h):
        return functional.silu(self.layer(functional.pad(h.transpose(1, 2), (2, 0)))).transpose(1, 2)


@piece("conv2d", "convolution")
class Conv2d(nn.Module):
    """Positions as channels of small pictures."""

    def __init__(self, draw, d, T):
        super().__init__()
        padding = draw.choice([1, (1, 1), "same"])
        mode = draw.choice(["zeros", "circular"])
        self.layer = nn.Conv2d(T, T, 3, padding=padding, groups=draw.choice([1, T]), padding_mode=mode)
        self.merged = draw.random() < 0.3

    def forward(self, h):
        x = h.unflatten(2, (2, -1))
        return (x + self.layer(x).tanh()).flatten(2)


@piece("strided conv2d", "convolution")
class StridedConv2d(nn.Module):
    """Down by a strided convolution and up by a transposed one."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.down = nn.Conv2d(1, 3, 2, stride=2, padding=(T % 2, 0))
        self.up = nn.ConvTranspose2d(3, 1, 2, stride=2, bias=draw.random() < 0.5)

    def forward(self, h):
        up = self.up(self.down(h[:, None]).tanh())[:, 0]
        return h + up[:, : h.shape[1]]


@piece("conv over merged examples", "convolution")
class MergedConv(nn.Module):
    """A convolution whose batch is examples times positions, in either order."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.position_major = nn.Conv1d(1, 2, 3, padding=1), draw.random() < 0.5

    def forward(self, h):
        x = h.transpose(0, 1) if self.position_major else h
        y = self.layer(x.reshape(-1, 1, h.shape[2])).tanh().sum(1).view(x.shape)
        return y.transpose(0, 1) if self.position_major else y


@piece("conv3d", "convolution")
class Conv3d(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Conv3d(1, 2, (draw.choice([1, 3]), 1, 3), padding="same")

    def forward(self, h):
        return h + self.layer(h.unflatten(2, (2, -1))[:, None]).tanh().sum(1).flatten(2)


@piece("transposed conv1d", "convolution")
class Transposed(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.ConvTranspose1d(
            d, d, draw.choice([1, 2, 3]), stride=draw.choice([1, 2]), groups=draw.choice([1, 2])
        )

    def forward(self, h):
        return _fit(self.layer(h.transpose(1, 2)).tanh(), h.shape[1]).transpose(1, 2)


@piece("depthwise separable", "convolution")
class Separable(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.depth, self.point = nn.Conv1d(d, d, 3, padding=1, groups=d), nn.Conv1d(d, d, 1)

    def forward(self, h):
        return h + self.point(functional.gelu(self.depth(h.transpose(1, 2)))).transpose(1, 2)


@piece("functional conv", "convolution")
class FunctionalConv(nn.Module):
    """A raw kernel, normalised before it is used."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(d, 1, 3))
        self.normalise = draw.random() < 0.5

    def forward(self, h):
        kernel = torch.softmax(self.kernel, 2) if self.normalise else self.kernel
        return functional.conv1d(h.transpose(1, 2), kernel, padding=1, groups=h.shape[2]).tanh().transpose(1, 2)
