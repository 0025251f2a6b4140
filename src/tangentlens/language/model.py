"""A causal language model of transformers, seen as a chain: embedding, blocks one after another, final norm, head.

Nothing is guessed from names or configs: the chain is found by watching a forward pass, and what lies between the
final hidden state and the logits is measured. What does not fit this picture is refused.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.language.batches import Batch
from tangentlens.language.chain import find_chain
from tangentlens.language.head import Head, HeadShape, measure_head
from tangentlens.language.sources import ModelSource, resolve
from tangentlens.language.working_copy import differentiable_copy, private_copy, with_finite_masks
from tangentlens.models.extras import optional_module
from tangentlens.models.neutral import plain_torch
from tangentlens.progress import Progress, silent


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its parts.

    Attributes:
        model: the model of transformers, in evaluation mode or as the user left it; never changed.
        tokenizer: its tokenizer, or None where the user wrapped a bare model.
        decoder: the part that maps input_ids to the final hidden state (N, T, d).
        block_list: the blocks, in the order of the forward pass.
        final_norm: what is applied to the last block's output; the identity where there is nothing.
        beyond: what the model applies to the decoder's result before the head; most models have nothing.
        head_shape: what lies around the linear head, as measured.
        source: where the weights came from, for the record of a run; None for a model that the user wrapped.
    """

    model: nn.Module
    tokenizer: Any
    decoder: nn.Module
    block_list: nn.ModuleList
    final_norm: nn.Module
    beyond: tuple[nn.Module, ...]
    head_shape: HeadShape
    source: ModelSource | None

    @property
    def blocks(self) -> tuple[tuple[str, nn.Module], ...]:
        """(name, module) of each block, in the order of the forward pass; names as in model.named_modules()."""
        names = {id(module): name for name, module in self.model.named_modules()}
        return tuple((names[id(block)], block) for block in self.block_list)

    @property
    def head(self) -> Head:
        """The logits as a function of the final hidden state, with the present weights."""
        return self.head_shape.of(self.model.get_output_embeddings())  # type: ignore[operator]

    @property
    def unembedding(self) -> Float[Tensor, "V d"]:
        """U, detached; `head` has the bias, scale and cap that the logits have beside it."""
        return self.head.weight

    @property
    def d_model(self) -> int:
        """Width of the final hidden state."""
        return int(self.unembedding.shape[1])

    @property
    def vocabulary(self) -> int:
        """Tokens that the model has an embedding for."""
        return len(self.model.get_input_embeddings().weight)  # type: ignore[operator]

    @property
    def positions(self) -> int | None:
        """The longest window that the model's config knows of; None where it names none."""
        config: Any = self.model.config
        limit = getattr(config.get_text_config(), "max_position_embeddings", None)
        return None if limit is None else int(limit)

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
        """The final hidden state, after the final norm, at every position: what the head is given."""
        hidden: Tensor = self.decoder(**self.arguments(batch), use_cache=False).last_hidden_state
        for module in self.beyond:
            hidden = module(hidden)
        return hidden

    def last_logits(self, batch: Batch) -> Float[Tensor, "N V"]:
        """The logits that the model itself returns at the last position of windows without padding."""
        only_last = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        options: dict[str, Any] = {"logits_to_keep": 1} if only_last else {}
        logits: Tensor = self.model(**self.arguments(batch), use_cache=False, **options).logits
        return logits[:, -1]

    def arguments(self, batch: Batch, *, every: bool = False) -> dict[str, Tensor]:
        """What the decoder is called with: positions count real tokens, so that padding on the left changes nothing.

        Args:
            every: positions of windows without padding too: transformers makes its own in another way for one window.

        Raises:
            InvalidInputError: the batch has position_ids, which this model does not take.
        """
        arguments = dict(batch)
        if "position_ids" in inspect.signature(self.decoder.forward).parameters:
            if "position_ids" not in batch and (every or "attention_mask" in batch):
                mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).to(torch.int64)
                arguments["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        elif "position_ids" in batch:
            raise InvalidInputError(
                f"{type(self.decoder).__name__} takes no position_ids", where="batch", remedy="Leave them out."
            )
        return arguments


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
        tokenizer: that of a model that is wrapped; otherwise instead of the one that lies with the weights.
        revision: commit, branch or tag of a hub model.
        progress: receives the conversion of a GGUF file.

    Raises:
        MissingExtraError: transformers, or what reads GGUF files, is not installed.
        InvalidInputError: nothing can be loaded from there.
        UnsupportedModelError: the model is no chain of blocks between an embedding and a linear head.
    """
    if isinstance(source, nn.Module):
        return _wrap(source, tokenizer, None)
    found = resolve(source, revision, progress=progress)
    model, own = _load(found, tokenizer is None)
    return _wrap(model, own if tokenizer is None else tokenizer, found)


def working_copy(lm: LanguageModel) -> LanguageModel:
    """A private copy of a model to differentiate, its head measured again.

    Raises:
        UnsupportedModelError: the model cannot be copied, or its attention cannot be switched.
    """
    made = _wrap(differentiable_copy(lm.model), lm.tokenizer, lm.source)
    with_finite_masks(made.block_list)
    return made


def _wrap(model: nn.Module, tokenizer: Any, source: ModelSource | None) -> LanguageModel:
    name = type(model).__name__
    for attribute, kind in (("_orig_mod", "compiled"), ("module", "wrapped for several devices")):
        if isinstance(getattr(model, attribute, None), nn.Module):
            raise UnsupportedModelError(f"the model is {kind}", where=name, remedy=f"Give model.{attribute}.")
    if not hasattr(model, "get_output_embeddings") or not hasattr(model, "config"):
        raise UnsupportedModelError(
            "this is no causal language model of transformers", where=name, remedy="Give an AutoModelForCausalLM."
        )
    if next(model.parameters()).is_meta:
        raise UnsupportedModelError("the parameters have no values (meta device)", where=name)
    with plain_torch():
        return _measured(model, private_copy(model, convert=False).eval(), tokenizer, source)


def _measured(model: nn.Module, twin: nn.Module, tokenizer: Any, source: ModelSource | None) -> LanguageModel:
    """The parts of a model, found on a copy of it in evaluation mode."""
    decoder = twin.base_model if twin.base_model is not twin else getattr(twin, "model", None)
    if not isinstance(decoder, nn.Module):
        raise UnsupportedModelError("the model has no decoder of its own", where=type(model).__name__)
    embedding: Any = twin.get_input_embeddings()  # type: ignore[operator]
    ids = (torch.arange(2, device=embedding.weight.device)[None] + 1) % len(embedding.weight)
    chain = find_chain(twin, decoder, twin.get_output_embeddings(), ids)  # type: ignore[operator]
    shape = measure_head(twin, chain.last, ids)
    names = {id(module): place for place, module in twin.named_modules()}

    def own(part: nn.Module) -> Any:
        return model.get_submodule(names[id(part)])

    parts, beyond = [own(part) for part in [*chain.way, *chain.beyond]], tuple(own(part) for part in chain.beyond)
    final_norm = parts[0] if len(parts) == 1 else nn.Sequential(*parts)
    return LanguageModel(model, tokenizer, own(decoder), own(chain.blocks), final_norm, beyond, shape, source)


def _load(source: ModelSource, with_tokenizer: bool) -> tuple[nn.Module, Any]:
    transformers = optional_module("transformers", "language")
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    try:
        bars.disable_progress_bar()  # the weights load in a second or two
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source.location, revision=source.revision, dtype=torch.float32
        )
        tokenizer = None
        if with_tokenizer:
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
