"""Labels of the next, current and previous word of a window, from a tagger."""

import re
from collections.abc import Sequence

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.labelling import TaggedWord
from tangentlens.language.windows.text_labels import Labels

WORDS = ("next", "current", "previous")

_NAME = re.compile(rf"({'|'.join(WORDS)})\.(pos|dep|morph\..+)")


def words_around(words: Sequence[TaggedWord], character: int) -> dict[str, TaggedWord | None]:
    """The words around a place: the first that begins there or after it, the last that begins before it, and its own
    predecessor. None where there is no such word.
    """
    first = next((row for row, word in enumerate(words) if word.start >= character), len(words))
    places = {"next": first, "current": first - 1, "previous": first - 2}
    return {name: words[row] if 0 <= row < len(words) else None for name, row in places.items()}


def word_labels(around: Sequence[dict[str, TaggedWord | None]]) -> Labels:
    """Columns such as next.pos, current.dep and previous.morph.Number, in this order of the words.

    A word without a feature of morphology, and a place without a word, have no value. Columns without any value are
    left out.
    """
    columns: Labels = {}
    for name in WORDS:
        known = [_described(each[name]) for each in around]
        features = sorted({key for one in known for key in one} - {"pos", "dep"})
        for key in ("pos", "dep", *features):
            columns[f"{name}.{key}"] = tuple(one.get(key) or None for one in known)
    return {name: values for name, values in columns.items() if any(values)}


def _described(word: TaggedWord | None) -> dict[str, str]:
    if word is None:
        return {}
    return {"pos": word.pos, "dep": word.dep, **{f"morph.{key}": value for key, value in word.morphology.items()}}


def check_names(labels: Labels) -> None:
    """The user's names must leave the tagger's free.

    Raises:
        InvalidInputError: one is a name of the tagger's.
    """
    taken = [name for name in labels if _NAME.fullmatch(name)]
    if taken:
        raise InvalidInputError(
            f"the tagger gives {', '.join(map(repr, taken))} itself",
            where="labels",
            remedy="Rename the column, or give tagger=None.",
        )
