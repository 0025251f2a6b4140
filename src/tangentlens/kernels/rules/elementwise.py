"""Sums, products, quotients and copies, with broadcasting."""

import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from tangentlens.kernels.rules.use import Call, Use, broadcast_labels, product_uses


def multiply(call: Call) -> list[Use] | None:
    """a * b."""
    return _product(call, call.args[0], call.argument(1, "other"))


def divide(call: Call) -> list[Use] | None:
    """a / b, affine in a alone."""
    a, b = call.args[0], call.argument(1, "other")
    if call.kwargs.get("rounding_mode") or call.is_parametric(b):
        return None
    return _product(call, a, b.detach().reciprocal() if isinstance(b, Tensor) else 1.0 / b)


def _product(call: Call, a: Any, b: Any) -> list[Use] | None:
    if not isinstance(a, Tensor):
        a, b = b, a
    axes = tuple(range(a.ndim))
    if not isinstance(b, Tensor):
        return [Use(a, axes, None, (), axes, float(b))]
    labels, out = broadcast_labels([a.shape, b.shape])
    return product_uses(call, [a, b], labels, out)


def add(call: Call) -> list[Use]:
    """a + alpha * b."""
    return _sum(call, [(call.args[0], 1.0), (call.argument(1, "other"), float(call.kwargs.get("alpha", 1)))])


def subtract(call: Call) -> list[Use]:
    """a - alpha * b."""
    return _sum(call, [(call.args[0], 1.0), (call.argument(1, "other"), -float(call.kwargs.get("alpha", 1)))])


def subtract_from(call: Call) -> list[Use]:
    """b - alpha * a."""
    return _sum(call, [(call.args[0], -float(call.kwargs.get("alpha", 1))), (call.argument(1, "other"), 1.0)])


def _sum(call: Call, terms: Sequence[tuple[Any, float]]) -> list[Use]:
    tensors = [(term, scale) for term, scale in terms if isinstance(term, Tensor)]
    labels, out = broadcast_labels([tensor.shape for tensor, _ in tensors])
    return [
        Use(tensor, axes, None, (), out, scale)
        for (tensor, scale), axes in zip(tensors, labels, strict=True)
        if call.is_parametric(tensor)
    ]


def expand(call: Call) -> list[Use]:
    """Copies along axes that are new or of length one."""
    (labels, _), out = broadcast_labels([call.args[0].shape, call.result.shape])
    return [Use(call.args[0], labels, None, (), out)]


def repeat(call: Call) -> list[Use] | None:
    """Tensor.repeat, where it does no more than expand."""
    lead = call.result.ndim - call.args[0].ndim
    if any(size not in (1, call.result.shape[lead + axis]) for axis, size in enumerate(call.args[0].shape)):
        return None  # a tiling of an axis longer than one
    return expand(call)


def where(call: Call) -> list[Use] | None:
    """where(mask, a, b) = mask * a + (1 - mask) * b."""
    if len(call.args) != 3:
        return None
    mask, chosen, other = call.args
    uses: list[Use] = []
    for value, weight in ((chosen, mask), (other, ~mask)):
        if call.is_parametric(value):
            factor = weight.to(call.result.dtype).expand(call.result.shape)
            alone = replace(call, is_parametric=partial(operator.is_, value))
            uses += _product(alone, value, factor) or []
    return uses
