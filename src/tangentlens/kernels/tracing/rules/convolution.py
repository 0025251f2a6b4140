"""Convolutions in one, two and three dimensions, as products with the sliding windows of their input."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as functional
from torch import Tensor

from tangentlens.kernels.tracing.rules.use import Call, Use

_EXAMPLE, _CHANNEL, _GROUP, _INNER = 0, 1, 2, -1


def convolution(call: Call) -> list[Use] | None:
    """F.conv1d, conv2d, conv3d: any stride, padding, dilation and number of groups."""
    x, weight, bias = call.first, call.argument(1, "weight"), call.argument(2, "bias")
    groups = call.argument(6, "groups", 1)
    spatial = weight.ndim - 2
    if x.ndim != weight.ndim or call.is_parametric(x):
        return None  # no batch axis, or a convolution of a parameter
    place, offset = tuple(range(3, 3 + spatial)), tuple(range(-1 - spatial, -1))
    split = (groups, weight.shape[0] // groups)
    out = (_EXAMPLE, _GROUP, _CHANNEL, *place)
    shape = (call.result.shape[0], *split, *call.result.shape[2:])
    uses = []
    if call.is_parametric(weight):
        windows = _windows(call, x.detach(), weight.shape[2:]).unflatten(1, (groups, -1))
        value, axes = weight.unflatten(0, split), (_GROUP, _CHANNEL, _INNER, *offset)
        uses.append(Use(value, axes, windows, (_EXAMPLE, _GROUP, _INNER, *place, *offset), out, output_shape=shape))
    if bias is not None and call.is_parametric(bias):
        uses.append(Use(bias.unflatten(0, split), (_GROUP, _CHANNEL), None, (), out, output_shape=shape))
    return uses


def _windows(call: Call, x: Tensor, kernel: Sequence[int]) -> Tensor:
    """Sliding windows (n, channels, *place, *offset), a strided view of the padded input."""
    stride, dilation = (_each(call.argument(i, name, 1), len(kernel)) for i, name in ((3, "stride"), (5, "dilation")))
    padding = _padding(call.argument(4, "padding", 0), kernel, dilation)
    x = functional.pad(x, [width for pair in reversed(padding) for width in pair])
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, d * (k - 1) + 1, s)[..., ::d]
    return x


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) for each spatial axis; "same" puts the odd one behind, as torch does."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(width, width) for width in _each(padding, len(kernel))]


def _each(value: Any, spatial: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * spatial if len(values) == 1 else values
