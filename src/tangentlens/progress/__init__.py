"""How a long computation tells how far it is, without knowing who listens."""

from collections.abc import Callable

# (stage, done, total): called before the first step with done = 0 and after each step.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The listener that says nothing; the default of library calls."""
