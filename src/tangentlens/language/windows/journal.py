"""A file of finished pieces of work, one JSON object a line, from which an interrupted computation goes on."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.store.atomic import storing


class Journal:
    """Finished pieces by key; those of an earlier process are there from the start.

    The first line says what the pieces were made from. A line that a killed process wrote by half is cut off.
    """

    def __init__(self, path: Path | None, made_from: Mapping[str, Any]) -> None:
        """Open the journal.

        Args:
            path: the file; None keeps the pieces in memory alone.
            made_from: all that decides what a piece holds, as JSON.

        Raises:
            InvalidInputError: the file was made from something else.
            StoreError: the file cannot be read or written.
        """
        self._path = path
        self._pieces: dict[str, Any] = {}
        if path is not None:
            self._open(path, {"made_from": dict(made_from)})

    def __contains__(self, key: object) -> bool:
        """Whether the piece is finished."""
        return key in self._pieces

    def __getitem__(self, key: str) -> Any:
        """The finished piece."""
        return self._pieces[key]

    def add(self, pieces: Iterable[tuple[str, Any]]) -> None:
        """Keep finished pieces; they are on the disk when this returns.

        Raises:
            StoreError: the file cannot be written.
        """
        new = dict(pieces)
        self._pieces.update(new)
        if self._path is not None and new:
            self._append(self._path, [{"key": key, "piece": piece} for key, piece in new.items()])

    def _open(self, path: Path, header: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
            if lines[-1]:  # no line end: written by half
                os.truncate(path, path.stat().st_size - len(lines[-1]))
            entries = [json.loads(line) for line in lines[:-1]]
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the finished pieces cannot be read: {error}", where=str(path), remedy="Remove the file to start anew."
            ) from error
        if not entries:
            self._append(path, [header])
        elif entries[0] != header:
            raise InvalidInputError(
                f"it holds pieces made from {entries[0]}, not from {header}",
                where=str(path),
                remedy="Go on with the same settings, or give another work folder.",
            )
        self._pieces = {entry["key"]: entry["piece"] for entry in entries[1:]}

    @staticmethod
    def _append(path: Path, entries: list[dict[str, Any]]) -> None:
        with storing(path), path.open("ab") as stream:
            stream.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
            stream.flush()
            os.fsync(stream.fileno())
