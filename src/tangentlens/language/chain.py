"""Find the chain of blocks in a decoder, and the modules from the last block's output to the final hidden state.

Nothing is guessed from names: one forward pass over two tokens is watched. The blocks are the longest list of modules
that are called once each, in order, each on what the one before it returned; the rest of the way is the sequence of
modules whose input is the former's output, up to the tensor that the decoder returns.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tangentlens.errors import UnsupportedModelError


@dataclass(frozen=True)
class _Called:
    """One call of a module: the hidden state that it was given and the one that it returned."""

    module: nn.Module
    given: Any
    result: Any


@dataclass(frozen=True)
class ChainOfBlocks:
    """The modules that a hidden state passes.

    Attributes:
        blocks: one after another.
        way: from the last block to what the decoder returns.
        beyond: from there to the head; most models have none.
    """

    blocks: nn.ModuleList
    way: list[nn.Module]
    beyond: list[nn.Module]

    @property
    def last(self) -> nn.Module:
        """The module that returns the final hidden state."""
        after = [*self.way, *self.beyond]
        return after[-1] if after else self.blocks[-1]


def find_chain(model: nn.Module, decoder: nn.Module, head: nn.Module, ids: Tensor) -> ChainOfBlocks:
    """The blocks of a model, and the modules between the last of them and its head.

    Args:
        decoder: returns a record with `last_hidden_state`.
        ids: (1, 2) tokens.

    Raises:
        UnsupportedModelError: there are no such blocks, or no sequence of modules leads to the decoder's result.
    """
    calls: list[_Called] = []
    final = _run(model, decoder, ids, calls)
    blocks = _blocks(decoder, calls)
    inside = {id(module) for block in blocks for module in block.modules()}
    outside = [call for call in calls if id(call.module) not in inside]
    last = next(call.result for call in calls if call.module is blocks[-1])
    way = _way(last, final, outside)
    if way is None:
        raise UnsupportedModelError(
            "no sequence of modules leads from the last block's output to the final hidden state",
            where=type(decoder).__name__,
            remedy="Only decoders that end in modules one after another, such as a norm, can be swept.",
        )
    given = [call.given for call in calls if call.module is head]
    beyond = _way(final, given[0], outside) if given else None  # none too where the hidden state is scaled on the way
    return ChainOfBlocks(blocks, way, beyond or [])


def _run(model: nn.Module, decoder: nn.Module, ids: Tensor, calls: list[_Called]) -> Tensor:
    """What the decoder returns in a forward pass of the model whose calls are noted."""
    states: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        states.append(output.last_hidden_state)

    try:
        with _watched(model, calls), torch.no_grad():
            handle = decoder.register_forward_hook(keep)
            try:
                model(input_ids=ids, use_cache=False)
            finally:
                handle.remove()
            if not states:  # the model calls a part of it instead
                calls.clear()
                return decoder(input_ids=ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]
    except Exception as error:  # whatever a stranger's model raises
        raise UnsupportedModelError(
            f"the model cannot be called on two tokens: {type(error).__name__}: {error}",
            where=type(model).__name__,
            remedy="Give a causal language model that runs with input_ids alone, in a dtype that it can compute in.",
        ) from error
    return states[0]


def hidden_of(returned: Any) -> Any:
    """The hidden state in what a block returns: itself, or the first of a tuple."""
    return returned[0] if isinstance(returned, tuple | list) and returned else returned


def given_hidden(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The hidden state that a block is called with."""
    return args[0] if args else kwargs.get("hidden_states")


@contextmanager
def _watched(model: nn.Module, calls: list[_Called]) -> Iterator[None]:
    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(_Called(module, given_hidden(args, kwargs), hidden_of(output)))

    handles = [module.register_forward_hook(note, with_kwargs=True) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(decoder: nn.Module, calls: Sequence[_Called]) -> nn.ModuleList:
    lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    found = [blocks for blocks in lists if _is_chain(blocks, calls)]
    inside = {id(module) for blocks in found for block in blocks for module in block.modules()}
    outermost = [blocks for blocks in found if id(blocks) not in inside]
    longest = [blocks for blocks in outermost if len(blocks) == max(map(len, outermost))]
    if len(longest) != 1:
        raise UnsupportedModelError(
            f"{len(longest)} lists of modules in the decoder are called one after another, once each, every one on "
            "what the one before it returned",
            where=type(decoder).__name__,
            remedy="Only decoders that are one chain of blocks can be swept.",
        )
    return longest[0]


def _is_chain(blocks: nn.ModuleList, calls: Sequence[_Called]) -> bool:
    members = {id(block) for block in blocks}
    made = [call for call in calls if id(call.module) in members]
    in_order = [id(call.module) for call in made] == [id(block) for block in blocks]
    states = all(isinstance(call.given, Tensor) and call.given.ndim == 3 for call in made)
    linked = all(_same(a.result, b.given) for a, b in pairwise(made))
    return in_order and states and linked and bool(made)


def _way(state: Any, final: Tensor, calls: Sequence[_Called]) -> list[nn.Module] | None:
    """The modules that lead from one tensor to another; the outermost where a module consists of others."""
    if _same(state, final):
        return []
    for call in reversed(calls):
        if _same(call.given, state) and not _same(call.result, state):
            rest = _way(call.result, final, calls)
            if rest is not None:
                return [call.module, *rest]
    return None


def _same(one: Any, other: Any) -> bool:
    """Whether two tensors are views of the same numbers: some models reshape on the way."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()
