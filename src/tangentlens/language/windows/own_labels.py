"""Labels from a user's own table: texts up to the next word, with its label."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.tables import read_rows


@dataclass(frozen=True)
class LabelledText:
    """A text that ends just before a word, and what is known of the word.

    Attributes:
        text: the text.
        word: the word; empty where the table does not say.
        pos: its part of speech, or any other label of which it has exactly one.
        morphology: further features -> values.
    """

    text: str
    word: str
    pos: str
    morphology: Mapping[str, str]


def own_labels(
    path: Path, *, text: str = "text", label: str = "label", word: str | None = None, morphology: str | None = None
) -> tuple[LabelledText, ...]:
    """The rows of a .jsonl or .parquet file.

    Args:
        path: the file.
        text: the column with the text up to the word.
        label: the column with the word's part of speech, or another single label.
        word: the column with the word, if there is one.
        morphology: the column with further features, if there is one: an object, or "Number=Sing|Person=3".

    Raises:
        InvalidInputError: a file, a column or a row cannot be used, or there is no row.
        MissingExtraError: parquet without the extra `language`.
    """
    columns = [column for column in (text, label, word, morphology) if column is not None]
    rows = enumerate(read_rows(Path(path), columns))
    found = tuple(_labelled(row, text, label, word, morphology, f"{path}, row {number}") for number, row in rows)
    if not found:
        raise InvalidInputError("there is no row in it", where=str(path), remedy="Give another file.")
    return found


def _labelled(
    row: Mapping[str, Any], text: str, label: str, word: str | None, morphology: str | None, where: str
) -> LabelledText:
    for column in (text, label):
        if not isinstance(row[column], str):
            raise InvalidInputError(
                f"{column!r} is {type(row[column]).__name__}, not text", where=where, remedy="Mend or remove the row."
            )
    features = None if morphology is None else row[morphology]
    return LabelledText(row[text], str(row[word]) if word else "", row[label], _features(features, where))


def _features(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, str):
        return dict(_pair(pair, where) for pair in value.split("|") if pair not in ("", "_"))
    if value is None or isinstance(value, dict):
        return {str(name): str(known) for name, known in (value or {}).items() if known is not None}
    raise InvalidInputError(
        f"the features are {type(value).__name__}", where=where, remedy='Write an object, or "Number=Sing|Person=3".'
    )


def _pair(pair: str, where: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise InvalidInputError(f"{pair!r} is no feature", where=where, remedy='Write "Number=Sing".')
    return name, value
