"""torch's bags of embeddings, written out as the rows they gather and what they do with them."""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_SIGNATURE = inspect.signature(functional.embedding_bag)
_PLAIN = {"offsets": None, "max_norm": None, "scale_grad_by_freq": False, "padding_idx": None}


def embedding_bag(*args: Any, **kwargs: Any) -> Tensor:
    """F.embedding_bag of bags of one length, (N, T) indices; every other form is called as it is."""
    given = _SIGNATURE.bind(*args, **kwargs)
    given.apply_defaults()
    asked = given.arguments
    if asked["input"].ndim != 2 or any(asked[name] != value for name, value in _PLAIN.items()):
        with torch._C.DisableTorchFunction():
            return functional.embedding_bag(*args, **kwargs)
    rows = functional.embedding(asked["input"], asked["weight"])
    if asked["per_sample_weights"] is not None:
        rows = rows * asked["per_sample_weights"][..., None]
    if asked["mode"] == "max":
        return rows.max(dim=1).values
    return rows.sum(dim=1) if asked["mode"] == "sum" else rows.mean(dim=1)
