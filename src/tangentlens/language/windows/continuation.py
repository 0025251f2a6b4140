"""Greedy continuation of windows by a language model, and the next word in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tangentlens.language.windows.labelling import TaggedWord


@dataclass(frozen=True)
class NextWord:
    """The word that a model writes at a boundary.

    Attributes:
        text: the word as it stands in the continuation.
        pos: its universal part of speech.
        morphology: its universal features.
    """

    text: str
    pos: str
    morphology: Mapping[str, str]


@torch.no_grad()
def continue_greedily(model: Any, windows: Int[Tensor, "n t"], steps: int) -> Int[Tensor, "n s"]:
    """The `steps` tokens that a causal language model of transformers puts after each window, each time the likeliest.

    The windows have equal lengths, so nothing is padded; keys and values of earlier tokens are kept, logits only of
    the last position. An end-of-text token is followed by what the model puts after it.
    """
    step = model(input_ids=windows, attention_mask=torch.ones_like(windows), use_cache=True, logits_to_keep=1)
    written = [step.logits[:, -1].argmax(dim=-1)]
    while len(written) < steps:
        seen = torch.ones(len(windows), windows.shape[1] + len(written), dtype=torch.int64, device=windows.device)
        step = model(
            input_ids=written[-1][:, None], attention_mask=seen, past_key_values=step.past_key_values, use_cache=True
        )
        written.append(step.logits[:, -1].argmax(dim=-1))
    return torch.stack(written, dim=1)


def continuation_text(tokenizer: Any, window: Sequence[int], written: Sequence[int]) -> str:
    """The text of the tokens written after a window, with the space before it; without special tokens.

    Decoded together with the window: some tokenizers drop a space at the beginning of a text. Empty where the window
    ends inside a character.
    """
    before, after = (
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for ids in (window, [*window, *written])
    )
    return str(after[len(before) :]) if after.startswith(before) else ""


def next_word(words: Sequence[TaggedWord], boundary: int) -> NextWord | None:
    """The first word that starts at the boundary, a character, or after it; None where the model wrote none."""
    word = next((word for word in words if word.start >= boundary), None)
    return None if word is None else NextWord(word.text, word.pos, dict(word.morphology))
