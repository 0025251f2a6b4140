"""What the command line says on the terminal: progress, logs and errors on stderr, results on stdout."""

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from tangentlens.errors import InvalidInputError, MissingExtraError, TangentlensError
from tangentlens.progress import Progress, silent
from tangentlens.progress.listeners import listening as listening_to


@dataclass(frozen=True)
class Terminal:
    """How much to say, and where.

    Attributes:
        quiet: only errors, and the one line that a script needs.
        verbose: also which method was chosen and why, and tracebacks.
        out: for results.
        err: for everything else.
    """

    quiet: bool = False
    verbose: bool = False
    out: Console = field(default_factory=Console)
    err: Console = field(default_factory=lambda: Console(stderr=True))

    def say(self, *lines: str) -> None:
        """Print to stdout, unless quiet."""
        if not self.quiet:
            for line in lines:
                self.out.print(line, markup=False, highlight=False, soft_wrap=True)

    def answer(self, line: str) -> None:
        """Print to stdout, also when quiet."""
        self.out.print(line, markup=False, highlight=False, soft_wrap=True)


def terminal_of(quiet: bool, verbose: bool) -> Terminal:
    """A terminal that receives the log of tangentlens too."""
    terminal = Terminal(quiet=quiet, verbose=verbose)
    start_logging(terminal)
    return terminal


def start_logging(terminal: Terminal) -> None:
    """Send the log of tangentlens to stderr, each message once, its numbers aside."""
    level = logging.ERROR if terminal.quiet else logging.INFO if terminal.verbose else logging.WARNING
    handler = RichHandler(console=terminal.err, show_path=False, markup=False, rich_tracebacks=False)
    handler.addFilter(_Once())
    logger = logging.getLogger("tangentlens")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


@contextmanager
def reporting(terminal: Terminal, *, resume: str = "") -> Iterator[None]:
    """Turn what goes wrong into a short block on stderr and an exit code: 2 where the arguments are wrong, else 1.

    Args:
        terminal: where to say it.
        resume: the command that goes on after an interruption; empty where there is nothing to resume.

    Raises:
        typer.Exit: after an error.
    """
    try:
        yield
    except KeyboardInterrupt:
        hint = f"resume with: {resume}" if resume else "nothing was written"
        terminal.err.print(Text("interrupted", style="bold"), Text(f"  {hint}"), sep="\n", soft_wrap=True)
        raise typer.Exit(1) from None
    except TangentlensError as error:
        _show(terminal, error.what, error.where, error.remedy)
        raise typer.Exit(2 if isinstance(error, InvalidInputError | MissingExtraError) else 1) from None
    except typer.Exit:
        raise
    except Exception as error:
        remedy = "" if terminal.verbose else "Run it again with --verbose for the traceback."
        _show(terminal, f"{type(error).__name__}: {error}", "", remedy)
        raise typer.Exit(1) from None


@contextmanager
def listening(terminal: Terminal) -> Iterator[Progress]:
    """A listener for long computations on stderr; nothing if quiet."""
    if terminal.quiet:
        yield silent
    else:
        with listening_to(terminal.err) as listener:
            yield listener


def shown_path(path: Path) -> str:
    """A path relative to the working directory, if it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


class _Once(logging.Filter):
    """Lets a message through once, its numbers aside: fifty checkpoints choose one method for one reason."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = re.sub(r"[\d.]+", "#", record.getMessage())
        new = message not in self._said
        self._said.add(message)
        return new


def _show(terminal: Terminal, what: str, where: str, remedy: str) -> None:
    if terminal.verbose:
        terminal.err.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
    terminal.err.print(Text.assemble(("error: ", "bold red"), what), soft_wrap=True)
    for name, words in (("where", where), ("remedy", remedy)):
        if words:
            terminal.err.print(Text.assemble((f"  {name}: ", "dim"), words), soft_wrap=True)
