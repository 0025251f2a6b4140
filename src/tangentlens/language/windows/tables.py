"""Rows of a user's own table: one JSON object a line, or parquet."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError
from tangentlens.models.extras import optional_module

Row = dict[str, Any]


def read_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of a .jsonl or .parquet file, in their order in the file.

    Args:
        path: the file.
        columns: what each row must have; None takes whatever it has.

    Raises:
        InvalidInputError: there is no such file, it has another ending, it is damaged, or a column is absent.
        MissingExtraError: parquet without the extra `language`.
    """
    path = Path(path)
    check_file(path)
    if path.suffix not in _READERS:
        raise InvalidInputError(
            f"a table that ends in {path.suffix!r}", where=str(path), remedy=f"Give one of {sorted(_READERS)}."
        )
    return _READERS[path.suffix](path, columns)


def check_file(path: Path) -> None:
    """The file must be there.

    Raises:
        InvalidInputError: it is not.
    """
    if not path.is_file():
        raise InvalidInputError("there is no such file", where=str(path), remedy="Check the path.")


def _json_lines(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                row = _parsed(line, f"{path}, line {number}")
                yield row if columns is None else _chosen(row, columns, f"{path}, line {number}")


def _parsed(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:  # UnicodeDecodeError is one
        raise InvalidInputError(f"this line is not JSON: {error}", where=where, remedy="Mend or remove it.") from error
    if not isinstance(row, dict):
        raise InvalidInputError(
            f"this line holds a {type(row).__name__}", where=where, remedy="Write one JSON object in each line."
        )
    return row


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    pyarrow, parquet = (optional_module(name, "language") for name in ("pyarrow", "pyarrow.parquet"))
    try:
        table = parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise InvalidInputError(
            f"this is not parquet: {error}", where=str(path), remedy="Give a whole file."
        ) from error
    with table:
        if columns is not None:
            _chosen(dict.fromkeys(table.schema_arrow.names), columns, str(path))
        for batch in table.iter_batches(columns=None if columns is None else list(columns)):
            yield from batch.to_pylist()


def _chosen(row: Row, columns: Sequence[str], where: str) -> Row:
    absent = [column for column in columns if column not in row]
    if absent:
        raise InvalidInputError(
            f"there is no column {', '.join(map(repr, absent))}", where=where, remedy=f"It has {sorted(row)}."
        )
    return {column: row[column] for column in columns}


_READERS: dict[str, Callable[[Path, Sequence[str] | None], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
