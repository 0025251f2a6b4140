"""The steps of an analysis of any model; a new one is a line below."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tangentlens.analysis.baseline_table import baseline_table
from tangentlens.analysis.case import Case
from tangentlens.analysis.checkpoint_table import checkpoint_table
from tangentlens.analysis.checks_table import checks
from tangentlens.analysis.discovery import discovery
from tangentlens.analysis.feature_table import feature_table
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.intervention_table import interventions
from tangentlens.analysis.kernel_modes import KernelModes
from tangentlens.analysis.nulls import nulls
from tangentlens.analysis.stability import stability
from tangentlens.progress import Progress


class ModelStep(NamedTuple):
    """One step.

    Attributes:
        name: of the step; its findings are stored under it.
        needs: what a case must have: names of its properties, or of fields of its subject.
        run: from a case and its modes to findings.
    """

    name: str
    needs: tuple[str, ...]
    run: Callable[[Case, KernelModes, Progress], Findings]

    def lacks(self, case: Case) -> tuple[str, ...]:
        """What the case has not."""
        return tuple(name for name in self.needs if not _has(case, name))


def _has(case: Case, name: str) -> bool:
    if name == "features":
        return bool(case.features.features)
    if name in ("targets", "sites"):
        return getattr(case, name) is not None and len(getattr(case, name)) > 0
    return getattr(case.subject, name) is not None


MODEL_STEPS: tuple[ModelStep, ...] = (
    ModelStep("features", ("features",), feature_table),
    ModelStep("baselines", ("features",), baseline_table),
    ModelStep("nulls", ("features",), nulls),
    ModelStep("stability", (), stability),
    ModelStep("discovery", (), discovery),
    ModelStep("interventions", (), interventions),
    ModelStep("checkpoints", ("checkpoints",), checkpoint_table),
    ModelStep("checks", (), checks),
)


def left_out(case: Case, steps: Sequence[ModelStep] = MODEL_STEPS) -> tuple[str, ...]:
    """A sentence for each step that cannot be done, with what it needs."""
    return tuple(
        f"{step.name}: not done, needs {' and '.join(f'{name}=' for name in missing)}"
        for step in steps
        if (missing := step.lacks(case))
    )
