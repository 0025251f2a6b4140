"""Rules by which windows are cut from texts, and what must hold before any text is tokenised."""

from dataclasses import dataclass
from typing import Any

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.labelling import Tagger
from tangentlens.language.windows.text_labels import Labels
from tangentlens.language.windows.text_windows import PADDING
from tangentlens.language.windows.texts import Texts
from tangentlens.language.windows.word_labels import check_names

MOST_CHARACTERS = 1_000_000  # of a text that a tagger takes: a parser needs about a gigabyte for them
EVERY = 16  # tokens between two windows where nothing else is asked for

_RULES = ("end", "marked", "word")


@dataclass(frozen=True, kw_only=True)
class CutRules:
    """How windows are cut from texts.

    Attributes:
        at: where a window ends. "end": at the end of each text, its last `length` tokens, padded where it is shorter.
            A number k: at every k-th token. "marked": at marks in the text. "word": just before each word of the
            tagger. None: "end" where texts have labels, else "word" where there is a tagger, else every 16th token.
        length: tokens of text in a window at most; special tokens come on top.
        count: windows at most; a sample in proportion to the first column of labels, one of each text before a second.
        seed: of the sample.
        bos: put the beginning-of-text token in front of every window.
        template: a chat template around every window, its own (True) or one in Jinja; what follows a text is there
            with "end" alone.
        mark: what marks a place; removed from the texts.
        offsets: instead of marks: a column of the texts' table, or one entry a text, of a character or several.
        padding: the side on which shorter windows are padded.
    """

    at: str | int | None = None
    length: int = 64
    count: int = 256
    seed: int = 0
    bos: bool = False
    template: bool | str = False
    mark: str = "⟦⟧"
    offsets: Any = None
    padding: str = "right"


def resolved_rule(rules: CutRules, texts: Texts, labels: Labels, tagger: Tagger | str | None) -> str | int:
    """The rule where windows end, once rules and labels are in order.

    Raises:
        InvalidInputError: they are not; names the keyword.
    """
    check_rules(rules)
    for name, values in labels.items():
        if len(values) != len(texts):
            raise InvalidInputError(
                f"{len(values)} values for {len(texts)} texts",
                where=f"labels[{name!r}]",
                remedy="Give one value for each text.",
            )
    at = rules.at
    if at is None:
        at = "end" if labels else "word" if tagger is not None else EVERY
    if at == "word" and tagger is None:
        raise InvalidInputError("there is no tagger to find words", where="at", remedy="Give one, or another rule.")
    if tagger is not None:
        check_names(labels)
        _check_lengths(texts)
    return at


def _check_lengths(texts: Texts) -> None:
    longest = max(range(len(texts)), key=lambda row: len(texts.texts[row]))
    characters = len(texts.texts[longest])
    if characters > MOST_CHARACTERS:
        raise InvalidInputError(
            f"text {longest} has {characters} characters, more than the {MOST_CHARACTERS} that are tagged",
            where="text",
            remedy="Divide it, for example into paragraphs, or give tagger=None.",
        )


def check_rules(rules: CutRules) -> None:
    """Look at rules before any text is read.

    Raises:
        InvalidInputError: a rule cannot be meant, whatever the texts are; names the keyword.
    """
    for name in ("length", "count"):
        if getattr(rules, name) < 1:
            raise InvalidInputError(f"{name} is {getattr(rules, name)}", where=name, remedy="Give at least 1.")
    if rules.padding not in PADDING:
        raise InvalidInputError(f"padding is {rules.padding!r}", where="padding", remedy=f"Give one of {PADDING}.")
    at = rules.at
    number = isinstance(at, int) and not isinstance(at, bool) and at >= 1
    if not (number or at is None or at in _RULES):
        raise InvalidInputError(f"at is {at!r}", where="at", remedy=f"Give a number of tokens, or one of {_RULES}.")
    if at == "marked" and rules.offsets is None and not rules.mark:
        raise InvalidInputError("the mark is empty", where="mark", remedy='Give a string such as "⟦⟧".')
