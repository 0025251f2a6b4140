"""Sources of text: a file, a table's column or a data set of the hub, each an iterator of stories.

A story comes as it stands in its source: control characters, NUL and marks of direction included. Only blanks and line
ends around it are removed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError
from tangentlens.language.folder_cache import sha256
from tangentlens.language.windows.tables import check_file, read_rows
from tangentlens.models.extras import optional_module

END_OF_TEXT = "<|endoftext|>"
TINY_STORIES = "roneneldan/TinyStories"

_BLANK_LINES = r"\r?\n(?:[ \t]*\r?\n)+"
_TABLES = (".jsonl", ".parquet")
_CHUNK = 1 << 20  # characters


@dataclass(frozen=True)
class Stories:
    """Stories from one source; every iteration starts at the first one.

    Attributes:
        source: what must be written down to find them again: kind, place (a file's name), and hash or revision.
        read: starts reading them.
    """

    source: Mapping[str, str]
    read: Callable[[], Iterator[str]]

    def __iter__(self) -> Iterator[str]:
        """The stories that are not empty.

        Raises:
            InvalidInputError: there is not one, or the source is damaged; names the place.
        """
        empty = True
        for story in self.read():
            if stripped := story.strip(" \t\r\n"):
                empty = False
                yield stripped
        if empty:
            raise InvalidInputError("there is no text in it", where=self.source["place"], remedy="Give another one.")


def file_stories(path: Path, column: str = "text") -> Stories:
    """The stories of a file, read as they are asked for.

    Args:
        path: .jsonl or .parquet: one story a row; anything else is text in UTF-8, its stories separated by
            `<|endoftext|>` where the first million characters hold one, else by blank lines.
        column: of a table, the one that holds the stories.

    Raises:
        InvalidInputError: there is no such file.
    """
    path = Path(path)
    check_file(path)
    source = {"kind": "file", "place": path.name, "sha256": sha256(path)}
    if path.suffix in _TABLES:
        return Stories({**source, "column": column}, lambda: _column(path, column))
    return Stories(source, lambda: _split(path))


def hub_stories(name: str = TINY_STORIES, *, split: str = "train", column: str = "text") -> Stories:
    """The stories of a data set of the Hugging Face hub, streamed; by default TinyStories (arXiv 2305.07759).

    Raises:
        InvalidInputError: the hub cannot be reached, or has no such data set, split or column.
        MissingExtraError: the extra `language` is not installed.
    """
    rows, source = hub_rows(name, split)
    return Stories({**source, "column": column}, lambda: _texts(iter(rows), column, name))


def hub_rows(name: str, split: str) -> tuple[Iterable[Mapping[str, Any]], Mapping[str, str]]:
    """The rows of a data set of the hub, streamed, and where they came from; raises what `hub_stories` does."""
    datasets, hub = (optional_module(module, "language") for module in ("datasets", "huggingface_hub"))
    try:
        revision = hub.HfApi().dataset_info(name, timeout=10).sha
        rows = datasets.load_dataset(name, split=split, streaming=True, revision=revision)
    except Exception as error:  # the errors of its HTTP client share no base class
        raise InvalidInputError(
            f"the data set cannot be read from the hub: {error}",
            where=name,
            remedy="Go online, or give a text file, a .jsonl or a .parquet.",
        ) from error
    return rows, {"kind": "hub", "place": name, "revision": str(revision), "split": split}


def _column(path: Path, column: str) -> Iterator[str]:
    return _texts(read_rows(path, [column]), column, str(path))


def _texts(rows: Iterator[Mapping[str, Any]], column: str, place: str) -> Iterator[str]:
    for number, row in enumerate(rows):
        text = row.get(column)
        if not isinstance(text, str):
            raise InvalidInputError(
                f"row {number} has no text in column {column!r} but {type(text).__name__}",
                where=place,
                remedy=f"Name the column that holds the stories; it has {sorted(row)}.",
            )
        yield text


def _split(path: Path) -> Iterator[str]:
    """The parts of a text file between separators, with a few million characters in memory at a time."""
    rest, pattern = "", None
    for chunk in _chunks(path):
        pattern = pattern or re.compile(re.escape(END_OF_TEXT) if END_OF_TEXT in chunk else _BLANK_LINES)
        *whole, rest = pattern.split(rest + chunk)
        yield from whole
    yield rest


def _chunks(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"the file is not UTF-8: {error.reason}", where=str(path), remedy="Convert it to UTF-8."
        ) from error
