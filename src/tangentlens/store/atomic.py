"""Files that are either whole or absent: written aside, flushed to disk, renamed."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tangentlens.errors import StoreError


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: a reader, or a killed process, never sees a part of it.

    Raises:
        StoreError: the folder cannot be written.
    """
    with storing(path):
        descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for text, in UTF-8."""
    write_bytes(path, content.encode())


@contextlib.contextmanager
def storing(
    path: Path, *, remedy: str = "Choose a folder that you may write (--out) and that has room."
) -> Iterator[None]:
    """Turns the operating system's refusals about `path` into a StoreError that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"the file system refused it: {error.strerror or error}",
            where=str(path),
            remedy=remedy,
        ) from error
