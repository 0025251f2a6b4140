"""Where windows may end: at the end of a text, at every k-th token, at marks, before words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.boundaries import Tokens, boundaries
from tangentlens.language.windows.labelling import TaggedWord
from tangentlens.language.windows.texts import Texts


def every(tokens: Tokens, k: int, length: int) -> list[int]:
    """Numbers of tokens before which a window ends, k apart, the first after `length` tokens.

    A text with fewer than `length` tokens gives those after k, 2k, ... tokens, one with fewer than k its end. None is
    inside a character.
    """
    whole = len(tokens.ids)
    first = length if whole >= length else k
    return [place for place in range(first, whole + 1, k) if _whole(tokens, place)] or last(tokens)


def last(tokens: Tokens) -> list[int]:
    """The end of a text, where it has a token."""
    return [len(tokens.ids)] if tokens.ids else []


def at_marks(tokens: Tokens, characters: Sequence[int]) -> list[int]:
    """The last token that ends at or before each mark; marks before the first token give nothing."""
    places = np.searchsorted(np.asarray(tokens.ends), characters, side="right").tolist()
    return sorted({place for place in places if place > 0})


def before_words(text: str, tokens: Tokens, words: Sequence[TaggedWord], length: int) -> list[int]:
    """Before each word that has `length` tokens before it; where there is none, before each word but the first."""
    allowed = {word.pos for word in words}
    found = boundaries(text, tokens, words, allowed, length) or boundaries(text, tokens, words, allowed, 1)
    return sorted({boundary.tokens for boundary in found})


def marked(texts: Texts, mark: str, offsets: Any) -> tuple[Texts, tuple[tuple[int, ...], ...]]:
    """Texts without their marks, and the characters that the marks stood before.

    Args:
        texts: the texts.
        mark: what marks a place; removed from the texts.
        offsets: instead: the name of a column of the texts' table, or one entry a text, a character or several.

    Raises:
        InvalidInputError: no text is marked, or an offset is outside its text.
    """
    if offsets is not None:
        return texts, _offsets(texts, offsets)
    parts = [text.split(mark) for text in texts.texts]
    if all(len(each) == 1 for each in parts):
        raise InvalidInputError(
            f"no text holds the mark {mark!r}", where="mark", remedy="Put it where windows end, or give `offsets`."
        )
    ends = tuple(tuple(np.cumsum([len(part) for part in each[:-1]]).tolist()) for each in parts)
    return Texts(tuple("".join(each) for each in parts), texts.columns, texts.source), ends


def divided(text: str, tokens: Tokens, characters: Sequence[int]) -> int:
    """How many marks stand inside a token."""
    places = np.searchsorted(np.asarray(tokens.ends), characters, side="right").tolist()
    inside = [(tokens.starts[p], mark) for p, mark in zip(places, characters, strict=True) if p < len(tokens.ids)]
    return sum(bool(text[start:mark].strip()) for start, mark in inside)


def _offsets(texts: Texts, offsets: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(offsets, str):
        offsets = _column(texts.columns, offsets)
    listed = offsets.tolist() if hasattr(offsets, "tolist") else list(offsets)
    if len(listed) != len(texts):
        raise InvalidInputError(
            f"{len(listed)} entries for {len(texts)} texts", where="offsets", remedy="Give one entry for each text."
        )
    found = tuple(
        _characters(entry, text, row) for row, (entry, text) in enumerate(zip(listed, texts.texts, strict=True))
    )
    if not any(found):
        raise InvalidInputError("no text is marked", where="offsets", remedy="Give characters at which windows end.")
    return found


def _column(columns: Mapping[str, Sequence[Any]], name: str) -> Sequence[Any]:
    if name not in columns:
        raise InvalidInputError(
            f"the texts have no column {name!r}", where="offsets", remedy=f"They have {sorted(columns)}."
        )
    return columns[name]


def _characters(entry: Any, text: str, row: int) -> tuple[int, ...]:
    entries = entry if isinstance(entry, list | tuple) else [] if entry is None else [entry]
    for one in entries:
        whole = isinstance(one, int) and not isinstance(one, bool)
        if not whole or not 0 < one <= len(text):
            raise InvalidInputError(
                f"{one!r} is no place in a text of {len(text)} characters",
                where=f"offsets, text {row}",
                remedy="Give the number of characters before the place, at least 1.",
            )
    return tuple(sorted(entries))


def _whole(tokens: Tokens, place: int) -> bool:
    """Whether no character is divided between the tokens before and after a place."""
    return place == len(tokens.ids) or tokens.starts[place] >= tokens.ends[place - 1]
