"""The folder of a run: built aside as `<name>.partial`, renamed when it is complete."""

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.store.atomic import storing, write_text
from tangentlens.store.environment import describe_environment, differences, read_environment, write_environment


@dataclass(frozen=True)
class Draft:
    """A run that is being built.

    Attributes:
        folder: where it will be when complete.
        partial: where it is until then, a sibling.
        environment: what it is made with.
    """

    folder: Path
    partial: Path
    environment: dict[str, Any]


def begin(folder: Path, config_text: str, *, overwrite: bool = False, resume: bool = False) -> Draft:
    """Open a draft of the run `folder`: a new one, or with `resume` the one that was interrupted.

    A complete run is left as it is until `complete` replaces it. `overwrite` alone also discards an interrupted
    draft; with `resume` it goes on from it.

    Args:
        folder: where the run will be.
        config_text: the complete config, as TOML.
        overwrite: replace a complete run.
        resume: go on from an interrupted draft of the same config, if there is one.

    Raises:
        InvalidInputError: the folder holds a run (without `overwrite`), an interrupted draft (without either) or
            something that is no run; or the draft was made with another config or other versions.
        StoreError: the folder cannot be written.
    """
    folder = Path(folder).resolve()
    partial = folder.with_name(f"{folder.name}.partial") if folder.name else folder
    with storing(folder):
        _restore(folder)
        _refuse_occupied(folder, overwrite)
        if partial.exists() and resume:
            return _resume(folder, partial, config_text)
        if partial.exists():
            _discard(partial, overwrite)
        (partial / "arrays").mkdir(parents=True)
    environment = describe_environment()
    write_environment(partial, environment)
    write_text(partial / "config.toml", config_text)
    return Draft(folder, partial, environment)


def complete(draft: Draft) -> Path:
    """Rename the draft to its final name, replacing an earlier run there; returns the folder.

    Raises:
        StoreError: the file system refused it; the draft and the earlier run are both kept.
    """
    with storing(draft.folder):
        replaced = _replaced(draft.folder)
        if draft.folder.exists():
            draft.folder.rename(replaced)
        draft.partial.rename(draft.folder)
        shutil.rmtree(replaced, ignore_errors=True)
    return draft.folder


def is_run(folder: Path) -> bool:
    """Whether the folder looks like a complete run."""
    return (folder / "config.toml").is_file() and (folder / "results.json").is_file()


def _replaced(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.replaced")


def _restore(folder: Path) -> None:
    """Put back the earlier run if a process was killed between the two renames of `complete`."""
    replaced = _replaced(folder) if folder.name else folder
    if is_run(replaced) and not folder.exists():
        replaced.rename(folder)


def _refuse_occupied(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not is_run(folder):
        raise InvalidInputError(
            "this exists and is not a run; it is left alone", where=str(folder), remedy="Choose another --out."
        )
    if not overwrite:
        raise InvalidInputError(
            "a complete run is already there",
            where=str(folder),
            remedy="Give --overwrite to replace it once the new one is complete, or choose another --out.",
        )


def _discard(partial: Path, overwrite: bool) -> None:
    if not overwrite:
        raise InvalidInputError(
            "an interrupted run is there",
            where=str(partial),
            remedy="Give --resume to go on from it, or --overwrite to discard it.",
        )
    if not (partial / "arrays").is_dir():
        raise InvalidInputError(
            "this exists and is not an interrupted run; it is left alone",
            where=str(partial),
            remedy="Choose another --out.",
        )
    shutil.rmtree(partial)


def _resume(folder: Path, partial: Path, config_text: str) -> Draft:
    environment = read_environment(partial)
    if _config(partial) != tomllib.loads(config_text):
        raise InvalidInputError(
            "the interrupted run was made with another config",
            where=str(partial / "config.toml"),
            remedy="Resume with that config, or give --overwrite without --resume to discard it.",
        )
    changed = differences(environment, describe_environment())
    if changed:
        raise InvalidInputError(
            f"the interrupted run was made with other versions: {'; '.join(changed)}",
            where=str(partial),
            remedy="Give --overwrite without --resume to start afresh.",
        )
    return Draft(folder, partial, environment)


def _config(partial: Path) -> dict[str, Any]:
    path = partial / "config.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the interrupted run has no readable config: {error}",
            where=str(path),
            remedy="Give --overwrite without --resume to start afresh.",
        ) from error
