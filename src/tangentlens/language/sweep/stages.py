"""A language model cut into stages that pass on a hidden state: embeddings, each block, the final norm.

One forward pass notes with what each block is called. Afterwards each stage can be run alone, on any of the windows,
and differentiated alone: a backward sweep then needs the graph of one stage at a time.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tangentlens.errors import UnsupportedModelError
from tangentlens.language.agreement import relative_difference, tolerance
from tangentlens.language.batches import Batch, last_positions, some
from tangentlens.language.chain import hidden_of
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.block_calls import FEW, MORE, Signature, block_calls, called_with, signature

HIDDEN = "hidden"  # name of the input of a stage that the stage before it gives
PROLOGUE, FINAL_NORM = "prologue", "final_norm"


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

    def __init__(self, block: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.block, self._signature, self.unused = block, signature, _unused()

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
        self.decoder, self.unused = lm.decoder, _unused()
        first = lm.block_list[0]
        self._first = next(name for name, module in lm.decoder.named_modules() if module is first)

    def forward(self, **arguments: Tensor) -> Tensor:
        def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _FirstBlockError(called_with(args, kwargs))

        handle = self.decoder.get_submodule(self._first).register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.decoder(**arguments, use_cache=False)
        except _FirstBlockError as stopped:
            return stopped.hidden.flatten(1)
        finally:
            handle.remove()
        raise UnsupportedModelError("the first block was not called", where=self._first)


class _FirstBlockError(Exception):
    """Carries the hidden state out of a forward pass at the first block."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@final
class _FinalNorm(nn.Module):
    """The last block's hidden state to the final one at each window's last position."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.unused = norm, _unused()

    def forward(self, hidden: Tensor, position: Tensor) -> Tensor:
        picked = hidden.gather(1, position[:, None, None].expand(-1, 1, hidden.shape[2]))
        result: Tensor = self.norm(picked)
        return result.flatten(1)


@dataclass(frozen=True)
class Chain:
    """A language model as stages.

    Attributes:
        lm: the model.
        stages: embeddings, every block, the final norm.
    """

    lm: LanguageModel
    stages: tuple[Stage, ...]
    _signatures: tuple[Signature, ...]

    def inputs(self, batch: Batch) -> list[dict[str, Tensor]]:
        """The inputs of every stage for some windows, from one forward pass without a graph."""
        calls = block_calls(self.lm, batch)
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
    few, more = (block_calls(lm, some(batch, torch.full((n,), row))) for n in (FEW, MORE))
    signatures = tuple(signature(name, a, b) for (name, _), a, b in zip(lm.blocks, few, more, strict=True))
    blocks = (Stage(name, _Block(block, s)) for (name, block), s in zip(lm.blocks, signatures, strict=True))
    stages = (Stage(PROLOGUE, _Prologue(lm)), *blocks, Stage(FINAL_NORM, _FinalNorm(lm.final_norm)))
    return Chain(lm, stages, signatures)


def _unused() -> nn.Parameter:
    """A parameter without uses: it makes a stage that has no other a function of parameters too."""
    return nn.Parameter(torch.zeros(1))
