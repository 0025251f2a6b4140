"""Rows of a tensor chosen by indices: embeddings and indexing. The one-hot code of an index is never formed."""

import torch
from torch import Tensor

from tangentlens.kernels.tracing.rules.use import Call, Use


def embedding(call: Call) -> list[Use] | None:
    """F.embedding; no gradient flows to the row padding_idx."""
    index, weight = call.first, call.argument(1, "weight")
    if index is None or weight is None or index.is_floating_point():
        return None  # torch.embedding, whose arguments come in another order
    if call.argument(3, "max_norm") is not None or call.argument(5, "scale_grad_by_freq"):
        return None
    return _gather(weight, 0, index, call.argument(2, "padding_idx"))


def index_select(call: Call) -> list[Use] | None:
    """torch.index_select."""
    value, index = call.first, call.argument(2, "index")
    return _gather(value, call.argument(1, "dim") % value.ndim, index) if index.ndim == 1 else None


def getitem(call: Call) -> list[Use] | None:
    """value[:, ..., index, ...] with one integer tensor of indices among whole slices."""
    value, index = call.args
    index = index if isinstance(index, tuple) else (index,)
    gathers = [(axis, i) for axis, i in enumerate(index) if isinstance(i, Tensor)]
    whole = all(isinstance(i, Tensor) or (isinstance(i, slice) and i == slice(None)) for i in index)
    if len(gathers) != 1 or not whole or not call.is_parametric(value):
        return None
    axis, indices = gathers[0]
    if indices.dtype in (torch.bool, torch.uint8):
        return None  # a mask
    return _gather(value, axis, indices)


def _gather(value: Tensor, axis: int, index: Tensor, padding: int | None = None) -> list[Use]:
    """y = value[..., index, ...]: the axes of the index stand in the place of the gathered one."""
    before = tuple(range(axis))
    inner = tuple(range(axis, axis + index.ndim))
    after = tuple(range(axis + index.ndim, index.ndim + value.ndim - 1))
    gathered = -1
    index = torch.where(index < 0, index + value.shape[axis], index)
    present = None if padding is None else index != padding % value.shape[axis]
    out = (*before, *inner, *after)
    return [Use(value, (*before, gathered, *after), index, inner, out, 1.0, gathered, present)]
