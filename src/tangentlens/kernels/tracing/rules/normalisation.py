"""Elementwise weight and bias of layer, RMS, batch and group normalisation.

The normalised activations are recomputed without the weight; batch normalisation counts only with fixed statistics.
"""

from collections.abc import Callable

import torch.nn.functional as functional
from torch import Tensor

from tangentlens.kernels.tracing.rules.use import Call, Labels, Use


def layer_norm(call: Call) -> list[Use]:
    """F.layer_norm."""
    x, shape, epsilon = call.first.detach(), call.argument(1, "normalized_shape"), call.argument(4, "eps", 1e-5)
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return _scale_and_shift(call, (2, 3), axes, lambda: functional.layer_norm(x, shape, eps=epsilon))


def rms_norm(call: Call) -> list[Use]:
    """F.rms_norm."""
    x, shape, epsilon = call.first.detach(), call.argument(1, "normalized_shape"), call.argument(3, "eps")
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return _scale_and_shift(call, (2, None), axes, lambda: functional.rms_norm(x, shape, eps=epsilon))


def batch_norm(call: Call) -> list[Use] | None:
    """F.batch_norm with running statistics."""
    if call.argument(5, "training") or len(call.args) + len(call.kwargs) > 8:
        return None  # statistics of the batch; or torch.batch_norm, whose arguments come in another order
    x, mean, variance = call.first.detach(), call.argument(1, "running_mean"), call.argument(2, "running_var")
    epsilon = call.argument(7, "eps", 1e-5)
    return _scale_and_shift(call, (3, 4), (1,), lambda: functional.batch_norm(x, mean, variance, eps=epsilon))


def group_norm(call: Call) -> list[Use]:
    """F.group_norm."""
    x, groups, epsilon = call.first.detach(), call.argument(1, "num_groups"), call.argument(4, "eps", 1e-5)
    return _scale_and_shift(call, (2, 3), (1,), lambda: functional.group_norm(x, groups, eps=epsilon))


def _scale_and_shift(
    call: Call, positions: tuple[int, int | None], axes: Labels, normalised: Callable[[], Tensor]
) -> list[Use]:
    weight = call.argument(positions[0], "weight")
    bias = None if positions[1] is None else call.argument(positions[1], "bias")
    out = tuple(range(call.result.ndim))
    uses = []
    if call.is_parametric(weight):
        uses.append(Use(weight, axes, normalised(), out, out))
    if bias is not None and call.is_parametric(bias):
        uses.append(Use(bias, axes, None, (), out))
    return uses
