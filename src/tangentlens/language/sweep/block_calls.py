"""Calls of a model's blocks: which arguments are constants, which differ from window to window, which is the state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tangentlens.errors import UnsupportedModelError
from tangentlens.language.batches import Batch
from tangentlens.language.chain import given_hidden, hidden_of
from tangentlens.language.model import LanguageModel

FEW, MORE = 2, 3  # batch sizes, from which arguments with an axis for the windows are found


@dataclass(frozen=True)
class BlockCall:
    """One call of a block: arguments, the hidden state among them, and the hidden state that it returns."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    hidden: Tensor
    result: Tensor


@dataclass(frozen=True)
class Signature:
    """The arguments of a block: a tree whose leaves are constants, tensors by window, or the hidden state.

    Attributes:
        by_window: leaf -> how many rows of its first axis belong to one window.
    """

    name: str
    tree: Any
    leaves: tuple[Any, ...]
    by_window: Mapping[int, int]
    hidden: int

    def by_name(self, call: BlockCall) -> dict[str, Tensor]:
        """The leaves of a call that have an axis for the windows, but for the hidden state, windows first.

        Raises:
            UnsupportedModelError: another leaf is not what it was when the model was cut.
        """
        leaves, tree = pytree.tree_flatten((call.args, call.kwargs))
        same = tree == self.tree and all(
            i == self.hidden or i in self.by_window or _equal(leaf, known)
            for i, (leaf, known) in enumerate(zip(leaves, self.leaves, strict=True))
        )
        if not same:
            raise UnsupportedModelError(
                "an argument of the block depends on which windows are in the batch",
                where=self.name,
                remedy="Give windows that are all padded, or none.",
            )
        return {f"leaf{i}": leaves[i].unflatten(0, (-1, rows)) for i, rows in self.by_window.items()}


def block_calls(lm: LanguageModel, batch: Batch) -> list[BlockCall]:
    """The call of each block in a forward pass."""
    calls: list[BlockCall] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(BlockCall(args, kwargs, called_with(args, kwargs), hidden_of(output)))

    handles = [block.register_forward_hook(note, with_kwargs=True) for _, block in lm.blocks]
    try:
        with torch.no_grad():
            lm.final_hidden(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def signature(name: str, few: BlockCall, more: BlockCall) -> Signature:
    """The signature of a block from its calls for FEW and for MORE windows that are all the same.

    Raises:
        UnsupportedModelError: the block is called in another way for another number of windows.
    """
    small, tree = pytree.tree_flatten((few.args, few.kwargs))
    large = pytree.tree_leaves((more.args, more.kwargs))
    hidden = next(i for i, leaf in enumerate(small) if leaf is few.hidden)
    if pytree.tree_structure((more.args, more.kwargs)) != tree:
        raise UnsupportedModelError("the block is called in another way for another number of windows", where=name)
    grown = [
        i
        for i, (a, b) in enumerate(zip(small, large, strict=True))
        if i != hidden and isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape != b.shape
    ]
    by_window = {i: _rows_of_a_window(name, small[i], large[i]) for i in grown}
    return Signature(name, tree, tuple(small), by_window, hidden)


def _rows_of_a_window(name: str, few: Tensor, more: Tensor) -> int:
    """How many rows of the first axis belong to each of some windows that are all the same, one after another.

    Some models merge heads into that axis; rows in any other order are refused.
    """
    rows = few.shape[0] // FEW
    merged = few.shape[0] == rows * FEW and more.shape[0] == rows * MORE and few.shape[1:] == more.shape[1:]
    if not merged or not all(torch.equal(few[:rows], other) for other in (*few.split(rows), *more.split(rows))):
        raise UnsupportedModelError(
            "an argument of the block has its windows on another axis than the first", where=name
        )
    return rows


def called_with(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden state (N, T, d) that a block is called with."""
    hidden = given_hidden(args, kwargs)
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise UnsupportedModelError("a block is called without a hidden state (N, T, d)")
    return hidden


def _equal(leaf: Any, known: Any) -> bool:
    if isinstance(leaf, Tensor) and isinstance(known, Tensor):
        return leaf.shape == known.shape and torch.equal(leaf, known)
    if isinstance(leaf, bool | int | float | str | torch.dtype | torch.device):
        return bool(leaf == known)
    return leaf is known or type(leaf) is type(known)
