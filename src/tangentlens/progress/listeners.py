"""Listeners for long computations: bars on a terminal or in a notebook, a line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tangentlens.errors import InvalidInputError
from tangentlens.progress import Progress, silent

_SECONDS_BETWEEN_LINES = 5.0
_OUTER = ("seeds", "steps")


@contextmanager
def listening(console: Console) -> Iterator[Progress]:
    """A listener that writes to a console."""
    if console.is_terminal or console.is_jupyter:
        with _bars(console) as bars:
            yield _BarListener(bars)
    else:
        yield _LineListener(console)


@contextmanager
def listener(progress: bool | Callable[[str, int, int], None] | None) -> Iterator[Progress]:
    """What a user's `progress=` stands for: True for a listener on stderr, None or False for none, or a function.

    Raises:
        InvalidInputError: it is something else.
    """
    if progress is True:
        with listening(Console(stderr=True)) as found:
            yield found
    elif not progress:
        yield silent
    elif callable(progress):
        yield progress
    else:
        raise InvalidInputError(
            f"progress={progress!r}", where="progress", remedy="Give True, False or a function (stage, done, total)."
        )


class _BarListener:
    """One bar a stage; a stage that is done makes room for the next, but the counts of seeds and steps stay."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)
        if done >= total and stage not in _OUTER:
            self._bars.remove_task(self._tasks.pop(stage))


class _LineListener:
    """A line at most every few seconds, for logs that do not overwrite themselves."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._console.print(f"{stage}: {done} of {total}", markup=False, highlight=False)


def _bars(console: Console) -> Bars:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Bars(*columns, TimeRemainingColumn(), console=console, transient=True)
