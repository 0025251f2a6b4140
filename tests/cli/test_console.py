import io
import logging

import pytest
import typer
from rich.console import Console

from tangentlens.cli.console import Terminal, listening, reporting, start_logging
from tangentlens.errors import InvalidInputError, MissingExtraError, NumericalError, StoreError
from tangentlens.progress import listeners, silent


def terminal(*, tty: bool = False, **options: bool) -> tuple[Terminal, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Terminal(out=Console(file=out), err=Console(file=err, force_terminal=tty, width=200), **options), out, err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError("bad", where="k = 3", remedy="Give 4."), 2),
        (MissingExtraError("absent", remedy="Install it."), 2),
        (StoreError("full"), 1),
        (NumericalError("nan"), 1),
        (RuntimeError("[bold]boom"), 1),
    ],
)
def test_errors_become_a_block_and_an_exit_code(error, code):
    at, _, err = terminal()
    with pytest.raises(typer.Exit) as left, reporting(at):
        raise error
    assert left.value.exit_code == code
    assert "error: " in err.getvalue()
    assert str(getattr(error, "what", "[bold]boom")) in err.getvalue()
    if code == 2 and isinstance(error, InvalidInputError):
        assert err.getvalue().splitlines() == ["error: bad", "  where: k = 3", "  remedy: Give 4."]


def test_an_interruption_without_anything_to_resume():
    at, _, err = terminal()
    with pytest.raises(typer.Exit), reporting(at):
        raise KeyboardInterrupt
    assert "nothing was written" in err.getvalue()


def test_progress_is_bars_on_a_terminal_lines_elsewhere_and_nothing_if_quiet(monkeypatch):
    at, out, err = terminal(tty=True)
    with listening(at) as progress:
        for done in range(4):
            progress("seeds", done, 3)
            progress("work", done, 3)
        progress("work", 0, 3)
    assert "work" in err.getvalue()

    monkeypatch.setattr(listeners, "_SECONDS_BETWEEN_LINES", 0.0)
    at, _, err = terminal()
    with listening(at) as progress:
        progress("work", 1, 3)
    assert err.getvalue() == "work: 1 of 3\n"

    at, _, err = terminal(quiet=True)
    with listening(at) as progress:
        assert progress is silent
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_quiet_leaves_the_answer_alone():
    at, out, _ = terminal(quiet=True)
    at.say("much")
    at.answer("[path]")
    assert out.getvalue() == "[path]\n"


@pytest.mark.parametrize(
    ("options", "level"), [({}, "WARNING"), ({"verbose": True}, "INFO"), ({"quiet": True}, "ERROR")]
)
def test_the_log_goes_to_stderr_each_message_once(options, level):
    logger = logging.getLogger("tangentlens")
    before = (logger.handlers, logger.level, logger.propagate)
    try:
        at, out, err = terminal(**options)
        start_logging(at)
        for step in range(3):
            logging.getLogger("tangentlens.x").log(logging.getLevelNamesMapping()[level], "chose dense in %d s", step)
        logging.getLogger("tangentlens.x").log(logging.getLevelNamesMapping()[level] - 10, "not this")
        assert err.getvalue().count("chose dense") == 1
        assert "not this" not in err.getvalue()
        assert out.getvalue() == ""
    finally:
        logger.handlers, logger.level, logger.propagate = before
