"""One step of an analysis: what it needs of a subject, and what it finds."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from tangentlens.analysis.findings import Findings

S = TypeVar("S")  # what is analysed
P = ParamSpec("P")  # what a step is called with besides


@dataclass(frozen=True)
class Step(Generic[S, P]):
    """One step.

    Attributes:
        name: of the step.
        needs: attributes of a subject that it cannot do without.
        run: from a subject, and what all steps of an analysis share, to findings.
    """

    name: str
    needs: tuple[str, ...]
    run: Callable[Concatenate[S, P], Findings]

    def lacks(self, subject: S) -> tuple[str, ...]:
        """What it needs and the subject has not: None, or empty."""
        return tuple(name for name in self.needs if _absent(getattr(subject, name)))


def possible(steps: Sequence[Step[S, P]], subject: S) -> list[Step[S, P]]:
    """The steps whose needs a subject meets."""
    return [step for step in steps if not step.lacks(subject)]


def left_out(steps: Sequence[Step[S, P]], subject: S) -> tuple[str, ...]:
    """A sentence for each other step, with what it needs."""
    return tuple(
        f"{step.name}: not done, needs {' and '.join(f'{name}=' for name in missing)}"
        for step in steps
        if (missing := step.lacks(subject))
    )


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, Sized) and len(value) == 0)
