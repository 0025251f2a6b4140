"""The analysis of a trained network: steps that each find something of a subject; a new one is a line below."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tangentlens.analysis.ablation import ablations
from tangentlens.analysis.findings import Findings, measured_in_parts
from tangentlens.analysis.leaderboard import ranking
from tangentlens.analysis.null_overlaps import null_overlaps
from tangentlens.analysis.onset import lead
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.analysis.sensitivity import sensitivity
from tangentlens.analysis.subject import Subject
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement


class Step(NamedTuple):
    """One step: its name, the fields of a subject that it cannot do without, and what it does."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Subject, EvidenceConfig], Findings]

    def lacks(self, subject: Subject) -> tuple[str, ...]:
        """The fields that it needs and the subject has not."""
        return tuple(name for name in self.needs if not getattr(subject, name))


STEPS: tuple[Step, ...] = (
    Step("ablations", ("sites",), ablations),
    Step("moves", ("sites",), sensitivity),
    Step("leaderboard", ("features", "sites"), ranking),
    Step("null models", ("nulls", "spaces"), null_overlaps),
    Step("onset", ("curves",), lead),
)


def analyse(
    subject: Subject, options: EvidenceConfig, *, steps: Sequence[Step] = STEPS, progress: Progress = silent
) -> Measurement:
    """Run every step whose needs the subject meets, in order; a note names the others.

    Args:
        subject: what is analysed.
        options: how much evidence to collect.
        steps: what to find.
        progress: receives the steps.
    """
    lacking = {step: absent for step in steps if (absent := step.lacks(subject))}
    notes = tuple(f"{step.name}: not done, needs {' and '.join(absent)}" for step, absent in lacking.items())
    parts = [_bound(step, options) for step in steps if step not in lacking]
    return measured_in_parts(subject.seed, subject, parts, f"seed {subject.seed}: evidence", progress, notes)


def _bound(step: Step, options: EvidenceConfig) -> Callable[[Subject], Findings]:
    return lambda subject: step.run(subject, options)
