"""Folders that are costly to make: built beside their place, renamed when complete, hashed, and checked at each use."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tangentlens.store.atomic import storing

MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)


def cache_root() -> Path:
    """Where this user's cached files lie: $XDG_CACHE_HOME/tangentlens, else ~/.cache/tangentlens."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tangentlens"


def cached_folder(folder: Path, build: Callable[[Path], None], made_from: Mapping[str, str]) -> Path:
    """The folder, built first where it is absent or damaged.

    Processes that ask for the same folder at once wait for the one that builds it. A killed build leaves nothing
    that is taken for a folder; its leftovers are removed by the next one.

    Args:
        folder: where it is, or will be.
        build: writes the content into an empty folder that it is given.
        made_from: what decides the content (hashes, versions); written to the manifest. The name of the folder must
            depend on all of it.

    Raises:
        StoreError: the file system refused it.
    """
    if folder.is_dir() and damage(folder) is None:
        return folder
    with _caching(folder), _locked(folder):
        reason = damage(folder) if folder.exists() else None
        if folder.exists() and reason is None:  # another process has built it in the meantime
            return folder
        if reason is not None:
            _log.warning("the cached folder %s is damaged (%s): making it again", folder, reason)
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        build(partial)
        _write_manifest(partial, made_from)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    return folder


def damage(folder: Path) -> str | None:
    """What is wrong with a cached folder, None where every file is there and has the hash of the manifest."""
    try:
        recorded: dict[str, str] = read_manifest(folder)["files"]
        found = _hashes(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no readable manifest: {error!r}"
    wrong = sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name))
    return f"{', '.join(wrong)}: not as written" if wrong else None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a cached folder: "files" (name -> sha256) and "made_from".

    Raises:
        OSError, ValueError: there is none, or it is damaged.
    """
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
    return manifest


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _write_manifest(folder: Path, made_from: Mapping[str, str]) -> None:
    manifest = {"schema": 1, "made_from": dict(made_from), "files": _hashes(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", "utf-8")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # given back when the stream closes, a killed process included
        yield


def _caching(folder: Path) -> AbstractContextManager[None]:
    return storing(folder, remedy="Set XDG_CACHE_HOME to a folder that you may write and that has room.")
