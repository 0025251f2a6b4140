"""A causal language model of transformers, seen as a chain: embedding, blocks one after another, final norm, head.

Nothing is guessed from names: the blocks are the one list of modules that the decoder calls in turn, and the final
norm is the module whose input is the last block's output and whose output is the decoder's. What does not fit this
picture is refused.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.models.extras import optional_module
from tangentlens.models.sources import ModelSource, resolve
from tangentlens.progress import Progress, silent

Batch = Mapping[str, Tensor]  # input_ids (N, T) int64 and, where windows are padded, attention_mask (N, T)

# fused attention kernels have no forward-mode derivative; this one is written in plain products
_DIFFERENTIABLE_ATTENTION = "eager"


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its parts.

    Attributes:
        model: the model of transformers, in evaluation mode or as the user left it; never changed.
        tokenizer: its tokenizer, or None where the user wrapped a bare model.
        decoder: the part that maps input_ids to the final hidden state (N, T, d).
        blocks: (name, module) of each block, in the order of the forward pass; names as in model.named_modules().
        final_norm: what is applied to the last block's output.
        source: where the weights came from, for the record of a run; None for a model that the user wrapped.
    """

    model: nn.Module
    tokenizer: Any
    decoder: nn.Module
    blocks: tuple[tuple[str, nn.Module], ...]
    final_norm: nn.Module
    source: ModelSource | None

    @property
    def unembedding(self) -> Float[Tensor, "V d"]:
        """U, detached: logits = U r (plus a constant bias, where the model has one)."""
        weight: Tensor = self.model.get_output_embeddings().weight  # type: ignore[operator]
        return weight.detach()

    @property
    def d_model(self) -> int:
        """Width of the final hidden state."""
        return int(self.unembedding.shape[1])

    @property
    def soft_cap(self) -> float | None:
        """c where the logits are c tanh(U r / c), else None."""
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return None if cap is None else float(cap)

    @property
    def parameters(self) -> dict[str, tuple[str, ...]]:
        """First name -> all names of every parameter; tied weights have several."""
        first: dict[int, str] = {}
        names: dict[str, tuple[str, ...]] = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            known = first.setdefault(id(parameter), name)
            names[known] = (*names.get(known, ()), name)
        return names

    def final_hidden(self, batch: Batch) -> Float[Tensor, "N T d"]:
        """The final hidden state, after the final norm, at every position."""
        hidden: Tensor = self.decoder(**_arguments(batch), use_cache=False).last_hidden_state
        return hidden


def language_model(
    source: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    revision: str | None = None,
    progress: Progress = silent,
) -> LanguageModel:
    """Load or wrap a causal language model.

    Args:
        source: a model id of the Hugging Face hub, a folder, a GGUF file, or a model of transformers.
        tokenizer: only for a model that is wrapped; otherwise it is loaded with the weights.
        revision: commit, branch or tag of a hub model.
        progress: told about the conversion of a GGUF file.

    Raises:
        MissingExtraError: transformers, or what reads GGUF files, is not installed.
        InvalidInputError: nothing can be loaded from there.
        UnsupportedModelError: the model is no chain of blocks between an embedding and a linear head.
    """
    if isinstance(source, nn.Module):
        return _wrap(source, tokenizer, None)
    found = resolve(source, revision, progress=progress)
    model, loaded = _load(found)
    return _wrap(model, loaded, found)


def last_positions(batch: Batch) -> Int[Tensor, " N"]:
    """Index of each window's last real position.

    Raises:
        InvalidInputError: input_ids or attention_mask are missing, misshapen or empty.
    """
    ids = batch.get("input_ids")
    if ids is None or ids.ndim != 2 or ids.numel() == 0:
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


@contextmanager
def differentiable_attention(model: nn.Module) -> Iterator[None]:
    """Switch a model of transformers to attention that has every derivative, and put its own back."""
    before = model.config._attn_implementation  # type: ignore[union-attr]
    model.set_attn_implementation(_DIFFERENTIABLE_ATTENTION)  # type: ignore[operator]
    try:
        yield
    finally:
        model.set_attn_implementation(before)  # type: ignore[operator]


def _arguments(batch: Batch) -> dict[str, Tensor]:
    """What the decoder is called with: positions count real tokens, so that padding on the left changes nothing."""
    arguments = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    mask = batch.get("attention_mask")
    if mask is not None:
        arguments["position_ids"] = (mask.to(torch.int64).cumsum(dim=1) - 1).clamp(min=0)
    return arguments


def _wrap(model: nn.Module, tokenizer: Any, source: ModelSource | None) -> LanguageModel:
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if not isinstance(head, nn.Linear):
        raise UnsupportedModelError(
            f"the head is a {type(head).__name__}, not a linear unembedding",
            where=type(model).__name__,
            remedy="Give a causal language model of transformers (AutoModelForCausalLM).",
        )
    decoder = model.base_model
    if not isinstance(decoder, nn.Module):
        raise UnsupportedModelError("the model has no decoder of its own", where=type(model).__name__)
    blocks, final_norm = _chain(model, decoder)
    return LanguageModel(model, tokenizer, decoder, blocks, final_norm, source)


def _chain(model: nn.Module, decoder: nn.Module) -> tuple[tuple[tuple[str, nn.Module], ...], nn.Module]:
    """The blocks and the final norm, found by watching one forward pass over two tokens."""
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList)]
    candidates = [child for child in lists if len(child) == model.config.num_hidden_layers]  # type: ignore[union-attr]
    if len(candidates) != 1:
        raise UnsupportedModelError(
            f"{len(candidates)} lists of modules in the decoder are as long as the config's num_hidden_layers",
            where=type(decoder).__name__,
            remedy="Only decoders that are one chain of blocks can be swept.",
        )
    names = {id(module): name for name, module in model.named_modules()}
    blocks = tuple((names[id(block)], block) for block in candidates[0])
    calls: list[tuple[nn.Module, Any, Any]] = []  # module, what it was given, what it returned

    def watch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append((module, next(iter((*args, *kwargs.values())), None), hidden_of(output)))

    watched = [block for _, block in blocks] + [c for c in decoder.children() if not isinstance(c, nn.ModuleList)]
    handles = [module.register_forward_hook(watch, with_kwargs=True) for module in watched]
    try:
        with torch.no_grad():
            ids = torch.zeros(1, 2, dtype=torch.int64, device=next(model.parameters()).device)
            final = decoder(input_ids=ids, use_cache=False).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    order = [module for module, _, _ in calls if any(module is block for _, block in blocks)]
    _check_order(order, blocks, decoder)
    last = next(result for module, _, result in calls if module is blocks[-1][1])
    norms = [module for module, given, result in calls if _same_memory(given, last) and _same_memory(result, final)]
    if len(norms) != 1:
        raise UnsupportedModelError(
            "no single module leads from the last block's output to the final hidden state",
            where=type(decoder).__name__,
            remedy="Only decoders that end in one norm can be swept.",
        )
    return blocks, norms[0]


def _same_memory(one: Any, other: Any) -> bool:
    """Whether two tensors are views of the same numbers: some models reshape on the way."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()


def _check_order(order: list[nn.Module], blocks: tuple[tuple[str, nn.Module], ...], decoder: nn.Module) -> None:
    if len(order) != len(blocks) or any(a is not b for a, (_, b) in zip(order, blocks, strict=True)):
        raise UnsupportedModelError(
            "the blocks are not called one after another, once each",
            where=type(decoder).__name__,
            remedy="Only decoders that are one chain of blocks can be swept.",
        )


def hidden_of(returned: Any) -> Any:
    """The hidden state in what a block returns: itself, or the first of a tuple."""
    return returned[0] if isinstance(returned, tuple | list) else returned


def _load(source: ModelSource) -> tuple[nn.Module, Any]:
    transformers = optional_module("transformers", "language")
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    try:
        bars.disable_progress_bar()  # the weights load in a second or two
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source.location, revision=source.revision, dtype=torch.float32
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.location, revision=source.revision)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"no causal language model can be loaded: {str(error).splitlines()[0]}",
            where=source.name,
            remedy="Give an id of the Hugging Face hub that can be reached, a folder with the weights, or a GGUF file.",
        ) from error
    finally:
        if shown:
            bars.enable_progress_bar()
    return model.eval(), tokenizer
