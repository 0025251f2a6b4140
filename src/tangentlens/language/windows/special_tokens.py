"""Special tokens around a text: a beginning-of-text token, a chat template; the tokens of a text between them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.boundaries import Tokens, tokenise

_PROBE = "\ue000\ue001\ue002"  # characters of private use: they stand in no template


@dataclass(frozen=True)
class Framed:
    """A tokenised text with the special tokens around it.

    Attributes:
        before, after: special tokens on either side, and their texts.
        tokens: of the text itself, with places in it.
        pieces: the text of each of its tokens; together they are the text.
    """

    before: tuple[int, ...]
    before_text: tuple[str, ...]
    tokens: Tokens
    pieces: tuple[str, ...]
    after: tuple[int, ...]
    after_text: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """What is put around every text.

    Attributes:
        bos: the beginning-of-text token; None where there is none to add.
        bos_text: that token.
        prefix, suffix: what a chat template writes before and after a text.
    """

    tokenizer: Any
    bos: int | None
    bos_text: str
    prefix: str
    suffix: str

    def tokenise(self, text: str) -> Framed:
        """The tokens of prefix, text and suffix together.

        A token that holds characters of two belongs to the text, and shows those of the text alone.
        """
        whole = f"{self.prefix}{text}{self.suffix}"
        tokens = _with_blanks(self.tokenizer, whole, tokenise(self.tokenizer, whole))
        first, last = len(self.prefix), len(self.prefix) + len(text)
        low, high = _between(tokens, first, last)
        pieces = [whole[start:end] for start, end in zip((0, *tokens.ends), tokens.ends, strict=False)]
        starts, ends = (
            tuple(min(max(place, first), last) - first for place in places[low:high])
            for places in (tokens.starts, tokens.ends)
        )
        bos = self.bos is not None and tokens.ids[:1] != (self.bos,)
        return Framed(
            before=((self.bos,) if bos and self.bos is not None else ()) + tokens.ids[:low],
            before_text=((self.bos_text,) if bos else ()) + tuple(pieces[:low]),
            tokens=Tokens(tokens.ids[low:high], starts, ends),
            pieces=tuple(text[start:end] for start, end in zip((0, *ends), ends, strict=False)),
            after=tokens.ids[high:],
            after_text=tuple(pieces[high:]),
        )

    @property
    def described(self) -> Mapping[str, Any]:
        """For the record of a run."""
        return {"bos": self.bos_text or None, "template": {"before": self.prefix, "after": self.suffix}}


def frame(tokenizer: Any, *, bos: bool = False, template: bool | str = False, answer: bool = True) -> Frame:
    """What is put around every text.

    Args:
        tokenizer: of the model; a fast one.
        bos: put the tokenizer's beginning-of-text token in front, unless the template does.
        template: True for the tokenizer's own chat template, or one in Jinja; a text is the message of a user.
        answer: end with the words that begin the model's answer; else nothing stands after a text.

    Raises:
        InvalidInputError: the tokenizer has no places, no such token or no template, or the template changes a text.
    """
    if tokenizer is None:
        raise InvalidInputError(
            "there is no tokenizer to cut text with", where="tokenizer", remedy="Give the model's: tokenizer=..."
        )
    tokenise(tokenizer, "a")
    token = tokenizer.bos_token_id if bos else None
    if bos and token is None:
        raise InvalidInputError(
            "the tokenizer has no beginning-of-text token",
            where=f"bos: {_name(tokenizer)}",
            remedy="Leave it out: bos=False.",
        )
    prefix, suffix = _around(tokenizer, template) if template else ("", "")
    return Frame(tokenizer, token, tokenizer.bos_token if bos else "", prefix, suffix if answer else "")


def vocabulary_hash(tokenizer: Any) -> str:
    """SHA-256 over the tokens and their numbers: where two agree, the same numbers are the same tokens."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def described(tokenizer: Any) -> Mapping[str, str]:
    """A tokenizer, for the record of a run."""
    return {"name": _name(tokenizer), "vocabulary_sha256": vocabulary_hash(tokenizer)}


def padding_token(tokenizer: Any) -> int:
    """A token to pad with; the attention mask hides it."""
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(int(token) for token in known if token is not None)


def _between(tokens: Tokens, first: int, last: int) -> tuple[int, int]:
    """The tokens, from one number up to another, that hold a character in [first, last)."""
    begins = [min(pair) for pair in zip(tokens.starts, (0, *tokens.ends), strict=False)]  # blanks before it are its own
    own = [row for row, end in enumerate(tokens.ends) if end > first and begins[row] < last]
    return (own[0], own[-1] + 1) if own else (0, 0)


def _with_blanks(tokenizer: Any, text: str, tokens: Tokens) -> Tokens:
    """Tokens of blanks with the places of their blanks: GPT-2's tokenizer places them at one end, of no width."""
    ends = list(tokens.ends)
    for row, (start, end) in enumerate(zip(tokens.starts, tokens.ends, strict=True)):
        if start == end:
            blanks = tokenizer.decode([tokens.ids[row]], clean_up_tokenization_spaces=False)
            before = ends[row - 1] if row else 0
            if blanks.isspace() and text.startswith(blanks, before):
                ends[row] = before + len(blanks)
    return Tokens(tokens.ids, tokens.starts, tuple(ends))


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)


def _around(tokenizer: Any, template: bool | str) -> tuple[str, str]:
    """What a template writes before and after a text."""
    where = f"template: {_name(tokenizer)}"
    if template is True and not getattr(tokenizer, "chat_template", None):
        raise InvalidInputError(
            "the tokenizer has no chat template", where=where, remedy="Leave it out, or give one in Jinja."
        )
    options = {} if template is True else {"chat_template": template}
    try:
        written = tokenizer.apply_chat_template(
            [{"role": "user", "content": _PROBE}], tokenize=False, add_generation_prompt=True, **options
        )
    except Exception as error:  # Jinja's errors, and those that a template raises
        raise InvalidInputError(
            f"the chat template cannot be applied: {error}", where=where, remedy="Mend it, or leave it out."
        ) from error
    parts = str(written).split(_PROBE)
    if len(parts) != 2:
        raise InvalidInputError(
            f"the chat template writes a text {len(parts) - 1} times, not once",
            where=where,
            remedy="Give one that writes the user's message once, unchanged.",
        )
    return parts[0], parts[1]
