"""Batches of token windows: checks, and windows taken out of them."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tangentlens.errors import InvalidInputError

# input_ids (N, T) of integers and, where there are, attention_mask (N, T) of 0 and 1 and position_ids (N, T)
Batch = Mapping[str, Tensor]

KEYS = ("input_ids", "attention_mask", "position_ids")


def last_positions(batch: Batch) -> Int[Tensor, " N"]:
    """Index of each window's last real position.

    Raises:
        InvalidInputError: input_ids or attention_mask are missing, misshapen or empty.
    """
    ids = batch.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.numel() == 0:
        raise InvalidInputError(
            "a batch needs input_ids of shape (N, T)", where="batch", remedy="Give {'input_ids': LongTensor (N, T)}."
        )
    mask = batch.get("attention_mask")
    if mask is None:
        return torch.full((ids.shape[0],), ids.shape[1] - 1)
    if mask.shape != ids.shape:
        raise InvalidInputError(
            f"attention_mask has shape {tuple(mask.shape)}, input_ids {tuple(ids.shape)}", where="batch"
        )
    if not bool(mask.any(dim=1).all()):
        raise InvalidInputError(
            f"window {int((~mask.any(dim=1)).nonzero()[0, 0])} has no real token", where="batch: attention_mask"
        )
    return ids.shape[1] - 1 - mask.flip(1).to(torch.int64).argmax(dim=1)


def checked_batch(batch: Batch, vocabulary: int, positions: int | None) -> dict[str, Tensor]:
    """The batch as plain tensors, every one of them usable.

    Args:
        vocabulary: tokens that the model has an embedding for.
        positions: the longest window that the model knows; None where there is no limit.

    Raises:
        InvalidInputError: a key is unknown, or an entry is out of range or of the wrong shape or kind; names it.
    """
    unknown = sorted(set(batch) - set(KEYS))
    if unknown:
        raise InvalidInputError(
            f"the batch holds {', '.join(unknown)}, which a sweep does not pass on",
            where="batch",
            remedy=f"Give {', '.join(KEYS)} alone.",
        )
    last_positions(batch)
    ids = batch["input_ids"]
    if positions is not None and ids.shape[1] > positions:
        raise InvalidInputError(
            f"windows of {ids.shape[1]} tokens are longer than the {positions} positions of the model",
            where="batch: input_ids",
            remedy=f"Give windows of at most {positions} tokens.",
        )
    _check_integers("input_ids", ids, vocabulary, "tokens of the model's vocabulary")
    if "attention_mask" in batch:
        mask = batch["attention_mask"]
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise InvalidInputError("attention_mask holds numbers other than 0 and 1", where="batch: attention_mask")
    if "position_ids" in batch:
        if batch["position_ids"].shape != ids.shape:
            raise InvalidInputError(
                f"position_ids have shape {tuple(batch['position_ids'].shape)}, input_ids {tuple(ids.shape)}",
                where="batch: position_ids",
            )
        _check_integers("position_ids", batch["position_ids"], positions, "positions of the model")
    return {name: _plain(tensor) for name, tensor in batch.items()}


def alone(batch: Batch, window: int) -> dict[str, Tensor]:
    """One window without its padding: tensors (1, t)."""
    mask = batch.get("attention_mask")
    real = slice(None) if mask is None else mask[window].bool()
    return {name: tensor[window, real][None] for name, tensor in batch.items() if name != "attention_mask"}


def some(batch: Batch, rows: Any) -> dict[str, Tensor]:
    """Some windows of a batch."""
    return {name: tensor[rows] for name, tensor in batch.items()}


def _check_integers(name: str, tensor: Tensor, limit: int | None, what: str) -> None:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InvalidInputError(f"{name} are {tensor.dtype}, not integers", where=f"batch: {name}")
    low, high = int(tensor.min()), int(tensor.max())
    if low < 0 or (limit is not None and high >= limit):
        raise InvalidInputError(
            f"{name} run from {low} to {high}, beyond the {limit} {what}" if low >= 0 else f"{name} hold {low}",
            where=f"batch: {name}",
        )


def _plain(tensor: Tensor) -> Tensor:
    """A tensor that autograd may keep: one made in inference mode is copied."""
    return tensor.clone() if tensor.is_inference() else tensor
