"""Word boundaries of a story at which a window of tokens can end."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.labelling import TaggedWord


@dataclass(frozen=True)
class Tokens:
    """A tokenised text.

    Attributes:
        ids: the tokens, without special ones.
        starts, ends: the characters of each token, [start, end); whether a space before a word belongs to its token
            depends on the tokenizer.
    """

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Boundary:
    """A place just before a word.

    Attributes:
        tokens: how many tokens of the story lie before it.
        character: where the last of them ends.
        pos: part of speech of the story's own next word.
    """

    tokens: int
    character: int
    pos: str


def tokenise(tokenizer: Any, text: str) -> Tokens:
    """The tokens of a text with their places.

    Raises:
        InvalidInputError: the tokenizer does not give the places of its tokens.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidInputError(
            "the tokenizer does not say where its tokens lie in the text",
            where=type(tokenizer).__name__,
            remedy="Load the fast one: AutoTokenizer.from_pretrained(..., use_fast=True).",
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return Tokens(tuple(encoded["input_ids"]), tuple(start for start, _ in offsets), tuple(end for _, end in offsets))


def boundaries(
    text: str, tokens: Tokens, words: Sequence[TaggedWord], allowed: Collection[str], length: int
) -> list[Boundary]:
    """The boundaries before words of an allowed part of speech that have at least `length` tokens before them.

    A word that begins inside a token ("n't" where "don" is one) has no boundary: no window ends just before it.
    """
    ends = np.asarray(tokens.ends)
    # the first token that reaches beyond the word's first character; ends never decrease
    firsts = np.searchsorted(ends, [word.start for word in words], side="right")
    return [
        Boundary(int(first), tokens.ends[first - 1], word.pos)
        for word, first in zip(words, firsts.tolist(), strict=True)
        if word.pos in allowed
        and max(length, 1) <= first < len(tokens.ids)
        and not text[tokens.starts[first] : word.start].strip()
        and tokens.starts[first] <= word.start
    ]
