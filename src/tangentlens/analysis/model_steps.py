"""The steps of an analysis of any model; a new one is a line below."""

from tangentlens.analysis.case import Case
from tangentlens.analysis.checkpoints.checkpoint_table import checkpoint_table
from tangentlens.analysis.checks_table import checks
from tangentlens.analysis.comparisons.baseline_table import baseline_table
from tangentlens.analysis.comparisons.nulls import nulls
from tangentlens.analysis.discovery.discovery import discovery
from tangentlens.analysis.interventions.intervention_table import interventions
from tangentlens.analysis.modes.kernel_modes import KernelModes
from tangentlens.analysis.modes.stability import stability
from tangentlens.analysis.questions.feature_table import feature_table
from tangentlens.analysis.steps import Step
from tangentlens.progress import Progress

MODEL_STEPS: tuple[Step[Case, [KernelModes, Progress]], ...] = (
    Step("features", ("features",), feature_table),
    Step("baselines", ("features",), baseline_table),
    Step("nulls", ("features",), nulls),
    Step("stability", (), stability),
    Step("discovery", (), discovery),
    Step("interventions", (), interventions),
    Step("checkpoints", ("checkpoints",), checkpoint_table),
    Step("checks", (), checks),
)
