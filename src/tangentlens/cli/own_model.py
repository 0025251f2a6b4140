"""`tangentlens analyse FILE.py:FUNCTION`: the subject that a function of the user's builds."""

import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.table import Table

from tangentlens.analysis.subject import Subject
from tangentlens.cli.console import Terminal, shown_path
from tangentlens.errors import InvalidInputError
from tangentlens.store import open_run
from tangentlens.store.tables import read_table, table_names

_FORM = "Give FILE.py:FUNCTION, a function without arguments that returns a Subject or the keywords of analyse."


def built_subject(source: str) -> Any:
    """The Subject that FILE.py:FUNCTION builds.

    Raises:
        InvalidInputError: there is no such file or function, it fails, or returns something else.
    """
    path, _, name = source.rpartition(":")
    if not path or not name.isidentifier():
        raise InvalidInputError(f"{source!r} names no function of a file", where="source", remedy=_FORM)
    function = getattr(_module(Path(path)), name, None)
    if not callable(function):
        raise InvalidInputError(f"{path} has no function {name}", where=source, remedy=_FORM)
    try:
        built = function()
    except Exception as error:  # whatever the user's code raises
        raise InvalidInputError(
            f"{name}() failed: {type(error).__name__}: {error}", where=source, remedy="Mend it, or call it in Python."
        ) from error
    if isinstance(built, Subject):
        return built
    if not isinstance(built, Mapping):
        raise InvalidInputError(f"{name}() returned a {type(built).__name__}", where=source, remedy=_FORM)
    try:
        return Subject(**built)
    except TypeError as error:
        raise InvalidInputError(
            f"{name}() returned keywords that do not fit: {error}", where=source, remedy=_FORM
        ) from error


def _module(path: Path) -> ModuleType:
    """The module of a file, run with its folder first on the path, as python FILE.py would."""
    if not path.is_file():
        raise InvalidInputError("there is no such file", where=str(path), remedy=_FORM)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidInputError("this is no Python file", where=str(path), remedy=_FORM)
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise InvalidInputError(
            f"the file cannot be run: {type(error).__name__}: {error}", where=str(path), remedy="Mend it."
        ) from error
    finally:
        sys.path.remove(folder)
    return module


def replayed(config: Path) -> dict[str, Any] | None:
    """What the config of an analysis says: its source and options; None where it is the config of a setting.

    Raises:
        InvalidInputError: the analysis was called in Python, so that no file builds its subject again.
    """
    try:
        tree = tomllib.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads it as a config says what is wrong
    if tree.get("setting") != "analysis":
        return None
    source = tree.get("replay", {}).get("source", "")
    if not source:
        raise InvalidInputError(
            "this analysis was called in Python: the run holds neither the model nor the inputs",
            where=str(config),
            remedy="Call tangentlens.analyse again, or let a function build its arguments for `tangentlens analyse`.",
        )
    return {"source": source, **tree.get("options", {})}


def print_analysis(terminal: Terminal, folder: Path) -> None:
    """Print the verdicts on every feature in the whole kernel, what was not done, and the report's path."""
    record = open_run(folder).seeds[0]
    if "alignment" in table_names(record) and not terminal.quiet:
        columns = ("feature", "metric", "score", "verdict_aligned", "verdict_learned", "verdict_used")
        table = Table(*(column.replace("verdict_", "") for column in columns), box=None, pad_edge=False)
        for row in read_table(record, "alignment").rows():
            if row["group"] == "total":
                cells = (row[column] for column in columns)
                table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
        terminal.out.print(table)
    terminal.say(*(note for note in record.notes if "not done" in note))
    terminal.answer(f"report: {shown_path(folder / 'report.html')}")
