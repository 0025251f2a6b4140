"""Texts as a user has them, strings, a file, a table, a data set, in one form."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.tables import check_file, read_rows
from tangentlens.language.windows.text import Stories, file_stories, hub_rows

_log = logging.getLogger(__name__)

HUB = "hub:"
MOST_STORIES = 20_000  # read of a source that is streamed or written by a model

_TABLES = (".jsonl", ".parquet")
_KINDS = f"Give a list of strings, a path (.txt, .jsonl, .parquet), {HUB!r} and a name, or rows with a text column."


@dataclass(frozen=True)
class Texts:
    """Texts in memory with what stands beside them.

    Attributes:
        texts: each as it stands in its source; some may be empty.
        columns: name -> one value a text, as the source has them; None where a row has none.
        source: what must be written down: kind, place, hash of the texts, how many, whether more were left unread.
    """

    texts: tuple[str, ...]
    columns: Mapping[str, tuple[Any, ...]]
    source: Mapping[str, Any]

    def __len__(self) -> int:
        """How many texts."""
        return len(self.texts)


def read_texts(text: Any, *, column: str = "text", split: str = "train", most: int = MOST_STORIES) -> Texts:
    """Read texts.

    Args:
        text: a list or tuple of strings; the path of a text file (texts separated by `<|endoftext|>`, else by blank
            lines), a .jsonl or a .parquet; "hub:NAME", a data set of the Hugging Face hub; `Stories`; or rows: a data
            set of the package datasets, a data frame, an iterable of mappings.
        column: of a table or rows, the one with the text; all others become `columns`.
        split: of a data set of the hub.
        most: texts to read at most of the hub and of `Stories`.

    Raises:
        InvalidInputError: there is no such file or column, or no text; names the row.
        MissingExtraError: the hub, or parquet, without the extra `language`.
    """
    if isinstance(text, str) and text.startswith(HUB):
        rows, source = hub_rows(text.removeprefix(HUB), split)
        some, more = _first(rows, most)
        return _rows(some, column, {**source, "more": more})
    if isinstance(text, str | Path):
        return _file(Path(text), column)
    if isinstance(text, Stories):
        return _streamed(text, most)
    if hasattr(text, "to_dict") and hasattr(text, "columns"):
        return _rows(text.to_dict("records"), column, {"kind": "data frame", "place": "text"})
    if isinstance(text, Mapping | bytes) or not isinstance(text, Iterable):
        keys = f" with the keys {sorted(map(str, text))}" if isinstance(text, Mapping) else ""
        raise InvalidInputError(f"a {type(text).__name__}{keys} is no text", where="text", remedy=_KINDS)
    entries = list(text)
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        return _rows(entries, column, {"kind": "data set", "place": type(text).__name__})
    return _strings(entries)


def _strings(entries: Sequence[Any]) -> Texts:
    for row, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise InvalidInputError(f"text {row} is {type(entry).__name__}", where=f"text[{row}]", remedy=_KINDS)
    return _checked(tuple(entries), {}, {"kind": "strings", "place": "text"})


def _file(path: Path, column: str) -> Texts:
    if len(str(path)) > 1024 or "\n" in str(path):
        raise InvalidInputError("one string is a path", where=f"text: {str(path)[:60]!r}...", remedy=_KINDS)
    check_file(path)
    stories = file_stories(path, column)
    if path.suffix in _TABLES:
        return _rows(read_rows(path, None), column, stories.source)
    return _checked(tuple(stories), {}, stories.source)


def _streamed(stories: Stories, most: int) -> Texts:
    texts, more = _first(stories, most)
    if more:
        _log.info("read the first %d texts of %s", most, stories.source["place"])
    return _checked(tuple(texts), {}, {**stories.source, "more": more})


def _first(entries: Iterable[Any], most: int) -> tuple[list[Any], bool]:
    """At most so many entries, and whether there are more."""
    reader = iter(entries)
    some = list(islice(reader, most))
    return some, len(some) == most and next(reader, None) is not None


def _rows(rows: Iterable[Any], column: str, source: Mapping[str, Any]) -> Texts:
    place = str(source["place"])
    texts: list[str] = []
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        texts.append(_text(row, column, f"{place}, row {number}"))
        for name in row:
            columns.setdefault(str(name), [None] * number).append(row[name])
        for values in columns.values():
            values.extend([None] * (number + 1 - len(values)))
    others = {name: tuple(values) for name, values in columns.items() if name != column}
    return _checked(tuple(texts), others, {**source, "column": column})


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    if column not in row:
        raise InvalidInputError(
            f"there is no column {column!r}", where=where, remedy=f"Name the one with the text; it has {sorted(row)}."
        )
    if not isinstance(row[column], str):
        raise InvalidInputError(
            f"column {column!r} holds {type(row[column]).__name__}, not text",
            where=where,
            remedy=f"Mend or remove the row, or name another column of {sorted(row)}.",
        )
    return str(row[column])


def _checked(texts: tuple[str, ...], columns: Mapping[str, tuple[Any, ...]], source: Mapping[str, Any]) -> Texts:
    empty = sum(not text.strip() for text in texts)
    if empty == len(texts):
        raise InvalidInputError("there is no text in it", where=str(source["place"]), remedy="Give another one.")
    if empty:
        _log.warning("%d of %d texts are empty: no window is cut from them", empty, len(texts))
    return Texts(texts, columns, {**source, "texts": len(texts), "texts_sha256": _hash(texts)})


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in _lengths_and_bytes(texts):
        digest.update(part)
    return digest.hexdigest()


def _lengths_and_bytes(texts: Iterable[str]) -> Iterator[bytes]:
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        yield len(content).to_bytes(8, "little")
        yield content
