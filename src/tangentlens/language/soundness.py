"""Checks of a language model that its kernels rest on, made on a few windows of the batch."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import UnsupportedModelError
from tangentlens.language.agreement import relative_difference, tolerance
from tangentlens.language.batches import Batch, alone, checked_batch, last_positions, some
from tangentlens.language.head import check_head
from tangentlens.language.model import LanguageModel, working_copy
from tangentlens.models.checks import check_modes

_WINDOWS, _LENGTH = 2, 12  # looked at, without padding, and tokens of each


def prepared(lm: LanguageModel, batch: Batch) -> tuple[LanguageModel, dict[str, Tensor]]:
    """The copy of a model to differentiate and the batch to do it on, where both are sound.

    Raises:
        InvalidInputError: the batch cannot be used; names what of it.
        UnsupportedModelError: the model is in training mode, sees later tokens, computes something else with plain
            attention, returns logits that are not its head's, or is changed by padding.
    """
    given = checked_batch(batch, lm.vocabulary, lm.positions)
    lm.arguments(given)
    check_modes(lm.model)
    working = working_copy(lm)
    rows = torch.linspace(0, len(given["input_ids"]) - 1, _WINDOWS).round().long().unique().tolist()
    for window in (some(alone(given, i), (slice(None), slice(-_LENGTH, None))) for i in rows):
        states = final_states(working, window)
        check_attention(lm, window, states)
        check_causality(working, window, states)
        head_difference(working, window, states)
    check_padding(working, given)
    return working, given


def check_attention(lm: LanguageModel, window: Batch, states: Float[Tensor, "n t d"]) -> float:
    """How far the final hidden states of the copy that is differentiated are from the model's own.

    Raises:
        UnsupportedModelError: beyond rounding.
    """
    own = final_states(lm, window)
    if own.dtype not in (torch.float32, torch.float64):
        return math.nan  # the copy is of another precision
    difference = relative_difference(own, states)
    if not difference <= tolerance(own.dtype):
        raise UnsupportedModelError(
            f"with attention and experts that have every derivative the hidden states differ by {difference:.1e}",
            where=type(lm.model).__name__,
            remedy="Load the model with attn_implementation='eager', so that it computes what is differentiated.",
        )
    return difference


def check_causality(lm: LanguageModel, window: Batch, states: Float[Tensor, "n t d"]) -> float:
    """Relative change of earlier final hidden states by another last token.

    Raises:
        UnsupportedModelError: more than rounding.
    """
    ids = window["input_ids"]
    if ids.shape[1] == 1:
        return 0.0
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % lm.vocabulary
    difference = relative_difference(states[:, :-1], final_states(lm, {**window, "input_ids": other})[:, :-1])
    if not difference <= tolerance(states.dtype):
        raise UnsupportedModelError(
            f"a later token changes the hidden states before it by {difference:.1e}: this is no causal language model",
            where=type(lm.model).__name__,
            remedy="Give a causal language model (AutoModelForCausalLM).",
        )
    return difference


def head_difference(lm: LanguageModel, window: Batch, states: Float[Tensor, "n t d"]) -> float:
    """How far the model's logits are from those that its head, as measured, gives of its final hidden states.

    Raises:
        UnsupportedModelError: beyond rounding.
    """
    with torch.no_grad():
        logits: Tensor = lm.model(**lm.arguments(window), use_cache=False).logits
    return check_head(lm.model, lm.head, states, logits)


def check_padding(lm: LanguageModel, batch: Batch) -> float:
    """Relative change at a window's last real position by hidden tokens.

    Raises:
        UnsupportedModelError: more than rounding.
    """
    if "attention_mask" not in batch:
        return 0.0
    padded = (~batch["attention_mask"].bool().all(dim=1)).nonzero()[:, 0]
    rows = padded[torch.linspace(0, len(padded) - 1, _WINDOWS).round().long().unique()].tolist() if len(padded) else []
    differences = [0.0]
    for i in rows:
        one = some(batch, slice(i, i + 1))
        with_padding = final_states(lm, one)[torch.arange(1), last_positions(one)]
        differences.append(relative_difference(final_states(lm, alone(batch, i))[:, -1], with_padding))
    worst = max(differences)
    if not worst <= tolerance(lm.unembedding.dtype):
        found = "make it NaN or infinite" if math.isinf(worst) else f"change it by {worst:.1e}"
        raise UnsupportedModelError(
            f"masked tokens are not ignored at a window's last position: they {found}",
            where=f"{type(lm.model).__name__}: attention_mask",
            remedy="Give windows of one length without padding, or pad on the other side.",
        )
    return worst


def final_states(lm: LanguageModel, batch: Batch) -> Float[Tensor, "n t d"]:
    """The final hidden states, without a graph."""
    with torch.no_grad():
        return lm.final_hidden(batch)
