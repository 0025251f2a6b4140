"""Windows of text that end just before a word, with the grammar of that word."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.own_labels import LabelledText

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Windows:
    """N windows of T tokens, each with the word that the model writes next.

    Attributes:
        input_ids: (N, T) int64 tokens, without special ones.
        story: (N,) int64 index of the story that each was cut from; windows of one story may overlap.
        text: the text of each window.
        word: the next word, as the model writes it.
        pos: its universal part of speech.
        morphology: its universal features.
        source: where text, model and labels came from, and how many stories and boundaries it took.
        seed: of the random boundaries; None where there were none to draw.
    """

    input_ids: Int[Tensor, "N T"]
    story: Int[Tensor, " N"]
    text: tuple[str, ...]
    word: tuple[str, ...]
    pos: tuple[str, ...]
    morphology: tuple[Mapping[str, str], ...]
    source: Mapping[str, Any]
    seed: int | None

    def __len__(self) -> int:
        """N."""
        return len(self.text)


def labelled_windows(
    texts: Sequence[LabelledText], tokenizer: Any, *, length: int = 64, source: Mapping[str, Any] | None = None
) -> Windows:
    """Windows from texts whose labels are known: the last `length` tokens of each; no model is asked.

    Args:
        texts: each ends just before its word; those with fewer tokens are left out, and the log says how many.
        tokenizer: of the model to be analysed.
        length: tokens of a window; no special tokens.
        source: where they came from, for the record.

    Raises:
        InvalidInputError: no text is long enough.
    """
    ids = [tokenizer(one.text, add_special_tokens=False, verbose=False)["input_ids"][-length:] for one in texts]
    rows = [row for row, window in enumerate(ids) if len(window) == length]
    if not rows:
        raise InvalidInputError(
            f"none of {len(texts)} texts has {length} tokens",
            where="texts",
            remedy="Give longer ones, or a smaller length.",
        )
    if len(rows) < len(texts):
        _log.warning("left out %d of %d texts with fewer than %d tokens", len(texts) - len(rows), len(texts), length)
    return Windows(
        input_ids=torch.tensor([ids[row] for row in rows], dtype=torch.int64),
        story=torch.tensor(rows, dtype=torch.int64),
        text=tuple(tokenizer.decode(ids[row], clean_up_tokenization_spaces=False) for row in rows),
        word=tuple(texts[row].word for row in rows),
        pos=tuple(texts[row].pos for row in rows),
        morphology=tuple(texts[row].morphology for row in rows),
        source=dict(source or {}),
        seed=None,
    )
