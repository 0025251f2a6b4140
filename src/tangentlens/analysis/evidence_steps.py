"""The evidence on a trained network of the paper's settings; a new step is a line below."""

from collections.abc import Callable, Sequence

from tangentlens.analysis.evidence.ablation import ablations
from tangentlens.analysis.evidence.leaderboard import ranking
from tangentlens.analysis.evidence.null_overlaps import null_overlaps
from tangentlens.analysis.evidence.onset import lead
from tangentlens.analysis.evidence.sensitivity import sensitivity
from tangentlens.analysis.evidence.trained_network import TrainedNetwork
from tangentlens.analysis.findings import Findings, measured_in_parts
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.analysis.steps import Step, left_out, possible
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement

EvidenceStep = Step[TrainedNetwork, [EvidenceConfig]]

EVIDENCE_STEPS: tuple[EvidenceStep, ...] = (
    Step("ablations", ("sites",), ablations),
    Step("moves", ("sites",), sensitivity),
    Step("leaderboard", ("features", "sites"), ranking),
    Step("null models", ("nulls", "spaces"), null_overlaps),
    Step("onset", ("curves",), lead),
)


def collect_evidence(
    network: TrainedNetwork,
    options: EvidenceConfig,
    *,
    steps: Sequence[EvidenceStep] = EVIDENCE_STEPS,
    progress: Progress = silent,
) -> Measurement:
    """Run every step whose needs the network meets, in order; a note names the others.

    Args:
        network: what is analysed.
        options: how much evidence to collect.
        steps: what to find.
        progress: receives the steps.
    """
    parts = [_bound(step, options) for step in possible(steps, network)]
    stage = f"seed {network.seed}: evidence"
    return measured_in_parts(network.seed, network, parts, stage, progress, left_out(steps, network))


def _bound(step: EvidenceStep, options: EvidenceConfig) -> Callable[[TrainedNetwork], Findings]:
    return lambda network: step.run(network, options)
