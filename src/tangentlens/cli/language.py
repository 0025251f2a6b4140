"""`tangentlens language MODEL --text FILE`: from a language model and a text to a run.

A command imports what it runs once it is called, so that `--help` waits for no torch.
"""

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from tangentlens.cli.console import Terminal, listening, reporting, terminal_of
from tangentlens.cli.options import Out, Overwrite, Quiet, Resume, Verbose
from tangentlens.errors import InvalidInputError


def language(
    model: Annotated[str, typer.Argument(help="A hub id, a folder or a GGUF file.")],
    text: Annotated[
        str | None,
        typer.Option(help='A .txt, .jsonl or .parquet, "hub:NAME", or "written": by the model.', show_default=False),
    ] = None,
    column: Annotated[str, typer.Option(help="Of a table, the one with the text.")] = "text",
    labels: Annotated[
        Path | None, typer.Option(help="A .jsonl or .parquet with one row a text.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A column with labels, of --labels or of the text's own table. Repeatable."),
    ] = None,
    tagger: Annotated[str, typer.Option(help='A spaCy pipeline, "stanza:LANGUAGE", or none.')] = "none",
    windows: Annotated[str, typer.Option(help="How many at most, or the folder of a run to use its windows.")] = "256",
    length: Annotated[int, typer.Option(min=1, help="Tokens of a window.")] = 64,
    at: Annotated[
        str | None,
        typer.Option(help='Where windows end: "end", "word", "marked", or every so many tokens.', show_default=False),
    ] = None,
    bos: Annotated[bool, typer.Option("--bos", help="Put the beginning-of-text token in front of windows.")] = False,
    template: Annotated[bool, typer.Option("--template", help="Put the chat template around windows.")] = False,
    groups: Annotated[
        list[str] | None, typer.Option(help="down_proj, weights, or patterns over parameter names. Repeatable.")
    ] = None,
    geometry: Annotated[str, typer.Option(help="fisher, centred or raw.")] = "fisher",
    modes: Annotated[int, typer.Option(min=2, help="Modes of each kernel.")] = 25,
    untrained: Annotated[str, typer.Option(help="reinitialise, a model, or none.")] = "reinitialise",
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Analyse a language model on a text, with labels or without. Goes to runs/<the model's name>."""
    terminal = terminal_of(quiet, verbose)
    given, columns = _labels(labels, label or [])
    arguments = {
        "model": model, "text": text, "column": column, "labels": given, "label_columns": columns,
        "tagger": _none(tagger), "windows": _count(windows), "length": length, "at": _count(at), "bos": bos,
        "template": template, "groups": _groups(groups), "geometry": geometry, "modes": modes,
        "untrained": _none(untrained), "seed": seed,
    }  # fmt: skip
    words = f"tangentlens language {shlex.quote(model)} ... --resume"
    with reporting(terminal, resume=words):
        analyse(terminal, arguments, out, resume=resume, overwrite=overwrite)


def analyse(terminal: Terminal, arguments: dict[str, Any], out: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Call `tl.analyse_language_model` and print its verdicts."""
    from tangentlens.cli.own_model import print_analysis
    from tangentlens.pipeline.analyse_language_model import analyse_language_model

    with listening(terminal) as progress:
        run = analyse_language_model(**arguments, out=out, resume=resume, overwrite=overwrite, progress=progress)
    print_analysis(terminal, run.stored.folder)


def _labels(labels: Path | None, columns: list[str]) -> tuple[Any, list[str] | None]:
    """`labels=` and `label_columns=`: a file with its columns, or columns of the text's own table."""
    if labels is not None:
        return str(labels), columns or None
    return columns or None, None


def _count(value: str | None) -> str | int | None:
    return int(value) if value is not None and value.isdecimal() else value


def _none(value: str) -> str | None:
    return None if value == "none" else value


def _groups(groups: list[str] | None) -> str | list[str]:
    """A preset by its name alone, patterns in a list."""
    if not groups:
        return "down_proj"
    return groups[0] if len(groups) == 1 and groups[0] in ("down_proj", "weights") else groups


def replayed_text(config: Path) -> dict[str, Any] | None:
    """The arguments that a run's config holds; None where it is the config of something else.

    Raises:
        InvalidInputError: the run was called with arguments that no file holds; names them.
    """
    try:
        tree = tomllib.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads it as a config says what is wrong
    if tree.get("setting") != "text":
        return None
    replay = tree.get("replay", {})
    if not replay.get("complete"):
        raise InvalidInputError(
            f"this analysis was called in Python, with {', '.join(replay.get('missing', [])) or 'arguments'} that the "
            "config does not hold",
            where=str(config),
            remedy="Call tangentlens.analyse_language_model again.",
        )
    arguments: dict[str, Any] = replay["arguments"]
    return arguments
