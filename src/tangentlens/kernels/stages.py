"""A language model cut into stages that hand a hidden state on: what lies before the blocks, each block, the last norm.

One forward pass notes with what each block is called. Afterwards each stage can be run alone, on any of the windows,
and differentiated alone: a backward sweep then needs the graph of one stage at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tangentlens.errors import UnsupportedModelError
from tangentlens.models.language_model import Batch, LanguageModel, hidden_of, last_positions

HIDDEN = "hidden"  # name of the input of a stage that the stage before it gives
PROLOGUE, FINAL_NORM = "prologue", "final_norm"
_FEW, _MORE = 2, 3  # batch sizes that tell which arguments of a block have an axis for the windows


@dataclass(frozen=True)
class _Signature:
    """The arguments of a block: a tree whose leaves are constants, tensors by window, or the hidden state."""

    tree: Any
    leaves: tuple[Any, ...]
    by_window: tuple[int, ...]
    hidden: int

    def by_name(self, call: "_BlockCall") -> dict[str, Tensor]:
        """The leaves of a call that have an axis for the windows, but for the hidden state."""
        leaves = pytree.tree_leaves((call.args, call.kwargs))
        return {f"leaf{i}": leaves[i] for i in self.by_window}


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
        self.block, self._signature = block, signature

    def forward(self, hidden: Tensor, **by_window: Tensor) -> Tensor:
        leaves = list(self._signature.leaves)
        leaves[self._signature.hidden] = hidden
        for i in self._signature.by_window:
            leaves[i] = by_window[f"leaf{i}"]
        args, kwargs = pytree.tree_unflatten(leaves, self._signature.tree)
        result: Tensor = hidden_of(self.block(*args, **kwargs))
        return result.flatten(1)


@final
class _Prologue(nn.Module):
    """Everything before the first block: embeddings of tokens and positions."""

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__()
        self.decoder = lm.decoder
        self._lm, self._first = lm, {id(m): name for name, m in lm.decoder.named_modules()}[id(lm.blocks[0][1])]

    def forward(self, **batch: Tensor) -> Tensor:
        def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _ReachedError(_given(args, kwargs))

        first = self.decoder.get_submodule(self._first)
        handle = first.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            replace(self._lm, decoder=self.decoder).final_hidden(batch)
        except _ReachedError as reached:
            return reached.hidden.flatten(1)
        finally:
            handle.remove()
        raise UnsupportedModelError("the first block was not called", where=self._lm.blocks[0][0])


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
        self.norm = norm

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
        return [dict(batch), *blocks, {HIDDEN: calls[-1].result, "position": last}]


def cut(lm: LanguageModel, batch: Batch) -> Chain:
    """Cut a model into stages; which arguments differ from window to window is found from two small batches."""
    few, more = (
        _calls(lm, {name: tensor[torch.zeros(n, dtype=torch.int64)] for name, tensor in batch.items()})
        for n in (_FEW, _MORE)
    )
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
    grown = tuple(
        i
        for i, (a, b) in enumerate(zip(small, large, strict=True))
        if i != hidden and isinstance(a, Tensor) and a.shape != b.shape
    )
    odd = [i for i in grown if small[i].shape[:1] != (_FEW,) or large[i].shape[:1] != (_MORE,)]
    if odd:
        raise UnsupportedModelError(
            "an argument of the block has its windows on another axis than the first", where=name
        )
    return _Signature(tree, tuple(small), grown, hidden)


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden state (N, T, d) that a block is called with."""
    hidden = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(hidden, Tensor) or hidden.ndim != 3:
        raise UnsupportedModelError("a block is called without a hidden state (N, T, d)")
    return hidden
