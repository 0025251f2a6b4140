"""Sums, products, quotients and copies, with broadcasting."""

import operator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tangentlens.kernels.tracing.rules.use import Call, Use, broadcast_labels, product_uses


def multiply(call: Call) -> list[Use] | None:
    """a * b."""
    return _product(call, call.first, call.argument(1, "other"))


def prelu(call: Call) -> list[Use] | None:
    """F.prelu, max(0, x) + w * min(0, x) with w for every channel or for all."""
    x, weight = call.argument(0, "input"), call.argument(1, "weight")
    if call.is_parametric(x):
        return None
    axes, out = tuple(range(x.ndim)), tuple(range(call.result.ndim))
    channel = (1,) if x.ndim > 1 and weight.numel() > 1 else (-1,)
    return product_uses(call, [x.detach().clamp(max=0), weight], [axes, channel[: weight.ndim]], out)


def divide(call: Call) -> list[Use] | None:
    """a / b = a * (1 / b), linear in a and in the reciprocal of b."""
    a, b = call.first, call.argument(1, "other")
    if call.kwargs.get("rounding_mode"):
        return None
    if not isinstance(b, Tensor):
        return _product(call, a, 1.0 / b)
    inverse = b.reciprocal() if call.is_parametric(b) else b.detach().reciprocal()
    parametric = (lambda value: value is inverse) if call.is_parametric(b) else call.is_parametric
    return _product(replace(call, is_parametric=parametric), a, inverse)


def _product(call: Call, a: Any, b: Any) -> list[Use] | None:
    if not isinstance(a, Tensor):
        a, b = b, a
    axes = tuple(range(a.ndim))
    if not isinstance(b, Tensor):
        return [Use(a, axes, None, (), axes, float(b))]
    labels, out = broadcast_labels([a.shape, b.shape])
    return product_uses(call, [a, b], labels, out)


def add(call: Call) -> list[Use] | None:
    """a + alpha * b."""
    return _sum(call, 1.0, float(call.kwargs.get("alpha", 1)))


def subtract(call: Call) -> list[Use] | None:
    """a - alpha * b."""
    return _sum(call, 1.0, -float(call.kwargs.get("alpha", 1)))


def subtract_from(call: Call) -> list[Use] | None:
    """b - alpha * a."""
    return _sum(call, -float(call.kwargs.get("alpha", 1)), 1.0)


def _sum(call: Call, first: float, second: float) -> list[Use] | None:
    """first * a + second * b."""
    if len(call.args) > 2:
        return None  # an old form of the call, with alpha in the middle
    terms = [(call.first, first), (call.argument(1, "other"), second)]
    tensors = [(term, scale) for term, scale in terms if isinstance(term, Tensor)]
    labels, out = broadcast_labels([tensor.shape for tensor, _ in tensors])
    return [
        Use(tensor, axes, None, (), out, scale)
        for (tensor, scale), axes in zip(tensors, labels, strict=True)
        if call.is_parametric(tensor)
    ]


def expand(call: Call) -> list[Use]:
    """Copies along axes that are new or of length one."""
    if not call.is_parametric(call.first):
        return []  # data in the shape of a parameter
    (labels, _), out = broadcast_labels([call.first.shape, call.result.shape])
    return [Use(call.first, labels, None, (), out)]


def repeat(call: Call) -> list[Use] | None:
    """Tensor.repeat, where it does no more than expand."""
    lead = call.result.ndim - call.first.ndim
    if any(size not in (1, call.result.shape[lead + axis]) for axis, size in enumerate(call.first.shape)):
        return None  # a tiling of an axis longer than one
    return expand(call)


def where(call: Call) -> list[Use] | None:
    """where(mask, a, b) = mask * a + (1 - mask) * b, and a.where(mask, b)."""
    mask, chosen, other = call.argument(0, "condition"), call.argument(1, "input"), call.argument(2, "other")
    if isinstance(mask, Tensor) and mask.dtype != torch.bool:  # the method: self comes first
        mask, chosen = call.argument(1, "condition"), mask
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        return None
    uses: list[Use] = []
    for value, weight in ((chosen, mask), (other, ~mask)):
        if call.is_parametric(value):
            factor = weight.to(call.result.dtype).expand(call.result.shape)
            alone = replace(call, is_parametric=partial(operator.is_, value))
            uses += _product(alone, value, factor) or []
    return uses
