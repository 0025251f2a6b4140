"""A language model cut into stages that hand a hidden state on: what lies before the blocks, each block, the last norm.

One forward pass notes with what each block is called. Afterwards each stage can be run alone, on any of the windows,
and differentiated alone: a backward sweep then needs the graph of one stage at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tangentlens.errors import UnsupportedModelError
from tangentlens.language.agreement import relative_difference, tolerance
from tangentlens.language.batches import Batch, last_positions, some
from tangentlens.language.chain import given_hidden, hidden_of
from tangentlens.language.model import LanguageModel

HIDDEN = "hidden"  # name of the input of a stage that the stage before it gives
PROLOGUE, FINAL_NORM = "prologue", "final_norm"
_FEW, _MORE = 2, 3  # batch sizes that tell which arguments of a block have an axis for the windows


@dataclass(frozen=True)
class _Signature:
    """The arguments of a block: a tree whose leaves are constants, tensors by window, or the hidden state.

    Attributes:
        by_window: leaf -> how many rows of its first axis belong to one window.
    """

    name: str
    tree: Any
    leaves: tuple[Any, ...]
    by_window: Mapping[int, int]
    hidden: int

    def by_name(self, call: "_BlockCall") -> dict[str, Tensor]:
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


@dataclass(frozen=True)
class Stage:
    """One link of the chain.

    Attributes:
        name: of the block; PROLOGUE and FINAL_NORM at the two ends.
        module: called with keyword arguments, HIDDEN among them; returns the hidden state that it hands on, flattened
            to (n, -1) so that it is a kernel's (N, C) output.
    """

    name: str
    module: nn.Module


@final
class _Block(nn.Module):
    """A block as a function of the hidden state and of those arguments that differ from window to window."""

    def __init__(self, block: nn.Module, signature: _Signature) -> None:
        super().__init__()
        self.block, self._signature, self.unused = block, signature, _nothing()

    def forward(self, hidden: Tensor, **by_window: Tensor) -> Tensor:
        leaves = list(self._signature.leaves)
        leaves[self._signature.hidden] = hidden
        for i in self._signature.by_window:
            leaves[i] = by_window[f"leaf{i}"].flatten(0, 1)
        args, kwargs = pytree.tree_unflatten(leaves, self._signature.tree)
        result: Tensor = hidden_of(self.block(*args, **kwargs))
        return result.flatten(1)


@final
class _Prologue(nn.Module):
    """Everything before the first block: embeddings of tokens and positions."""

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__()
        self.decoder, self.unused = lm.decoder, _nothing()
        first = lm.block_list[0]
        self._first = next(name for name, module in lm.decoder.named_modules() if module is first)

    def forward(self, **arguments: Tensor) -> Tensor:
        def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _ReachedError(_given(args, kwargs))

        handle = self.decoder.get_submodule(self._first).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.decoder(**arguments, use_cache=False)
        except _ReachedError as reached:
            return reached.hidden.flatten(1)
        finally:
            handle.remove()
        raise UnsupportedModelError("the first block was not called", where=self._first)


class _ReachedError(Exception):
    """Carries the hidden state out of a forward pass at the first block."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@final
class _FinalNorm(nn.Module):
    """The last block's hidden state to the final one at each window's last position."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.unused = norm, _nothing()

    def forward(self, hidden: Tensor, position: Tensor) -> Tensor:
        picked = hidden.gather(1, position[:, None, None].expand(-1, 1, hidden.shape[2]))
        result: Tensor = self.norm(picked)
        return result.flatten(1)


@dataclass(frozen=True)
class Chain:
    """A language model as stages.

    Attributes:
        lm: the model.
        stages: what lies before the blocks, every block, the final norm.
    """

    lm: LanguageModel
    stages: tuple[Stage, ...]
    _signatures: tuple[_Signature, ...]

    def inputs(self, batch: Batch) -> list[dict[str, Tensor]]:
        """The inputs of every stage for some windows, from one forward pass without a graph."""
        calls = _calls(self.lm, batch)
        last = last_positions(batch).to(calls[-1].result.device)
        blocks = [
            {HIDDEN: call.hidden, **signature.by_name(call)}
            for call, signature in zip(calls, self._signatures, strict=True)
        ]
        return [self.lm.arguments(batch, every=True), *blocks, {HIDDEN: calls[-1].result, "position": last}]

    def difference(self, batch: Batch) -> float:
        """How far the stages, each run on what the one before it gives, are from the model's final hidden state."""
        with torch.no_grad():
            whole = self.lm.final_hidden(batch)
            inputs = self.inputs(batch)
            hidden = self.stages[0].module(**inputs[0])
            for stage, given in zip(self.stages[1:], inputs[1:], strict=True):
                hidden = stage.module(**{**given, HIDDEN: hidden.view_as(given[HIDDEN])})
        return relative_difference(whole[torch.arange(len(whole)), last_positions(batch)], hidden)

    def check(self, batch: Batch) -> None:
        """The stages must give the model's final hidden state.

        Raises:
            UnsupportedModelError: they do not.
        """
        difference = self.difference(batch)
        if not difference <= tolerance(self.lm.unembedding.dtype):
            raise UnsupportedModelError(
                f"the blocks run one by one give another final hidden state ({difference:.1e})",
                where=type(self.lm.model).__name__,
                remedy="A block takes something from the others beside the hidden state; take its kernel with tl.entk.",
            )


def cut(lm: LanguageModel, batch: Batch) -> Chain:
    """Cut a model into stages; which arguments differ from window to window is found from two small batches."""
    row = int(batch["attention_mask"].sum(1).argmin()) if "attention_mask" in batch else 0  # the most padded
    few, more = (_calls(lm, some(batch, torch.full((n,), row))) for n in (_FEW, _MORE))
    signatures = tuple(_signature(name, a, b) for (name, _), a, b in zip(lm.blocks, few, more, strict=True))
    blocks = (Stage(name, _Block(block, s)) for (name, block), s in zip(lm.blocks, signatures, strict=True))
    stages = (Stage(PROLOGUE, _Prologue(lm)), *blocks, Stage(FINAL_NORM, _FinalNorm(lm.final_norm)))
    return Chain(lm, stages, signatures)


@dataclass(frozen=True)
class _BlockCall:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    hidden: Tensor
    result: Tensor


def _calls(lm: LanguageModel, batch: Batch) -> list[_BlockCall]:
    """With what each block is called in a forward pass, and what it returns."""
    calls: list[_BlockCall] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(_BlockCall(args, kwargs, _given(args, kwargs), hidden_of(output)))

    handles = [block.register_forward_hook(note, with_kwargs=True) for _, block in lm.blocks]
    try:
        with torch.no_grad():
            lm.final_hidden(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _signature(name: str, few: _BlockCall, more: _BlockCall) -> _Signature:
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
    return _Signature(name, tree, tuple(small), by_window, hidden)


def _rows_of_a_window(name: str, few: Tensor, more: Tensor) -> int:
    """How many rows of the first axis belong to each of some windows that are all the same, one after another.

    Some models merge heads into that axis; rows in any other order are refused.
    """
    rows = few.shape[0] // _FEW
    merged = few.shape[0] == rows * _FEW and more.shape[0] == rows * _MORE and few.shape[1:] == more.shape[1:]
    if not merged or not all(torch.equal(few[:rows], other) for other in (*few.split(rows), *more.split(rows))):
        raise UnsupportedModelError(
            "an argument of the block has its windows on another axis than the first", where=name
        )
    return rows


def _equal(leaf: Any, known: Any) -> bool:
    if isinstance(leaf, Tensor) and isinstance(known, Tensor):
        return leaf.shape == known.shape and torch.equal(leaf, known)
    if isinstance(leaf, bool | int | float | str | torch.dtype | torch.device):
        return bool(leaf == known)
    return leaf is known or type(leaf) is type(known)


def _nothing() -> nn.Parameter:
    """A parameter that nothing uses: a stage without any of its own is a function of parameters all the same."""
    return nn.Parameter(torch.zeros(1))


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden state (N, T, d) that a block is called with."""
    hidden = given_hidden(args, kwargs)
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise UnsupportedModelError("a block is called without a hidden state (N, T, d)")
    return hidden
