"""Record of an examination: one check a question."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check came out."""

    FINE = "fine"
    NOTE = "note"
    FAILS = "will not work"


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: what was looked at.
        verdict: FINE; NOTE where it works but a reader should know, or where it was not looked at; FAILS.
        finding: what was found, in a sentence.
        number: what was measured; None where nothing was.
        remedy: what to do about it; empty where there is nothing to do.
    """

    name: str
    verdict: Verdict
    finding: str
    number: int | float | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """All checks of one model.

    Attributes:
        model: as it was asked for.
        checks: in the order in which they were made.
    """

    model: str
    checks: tuple[Check, ...]

    def __getitem__(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    @property
    def failing(self) -> tuple[Check, ...]:
        """Those that will not work."""
        return tuple(check for check in self.checks if check.verdict is Verdict.FAILS)
