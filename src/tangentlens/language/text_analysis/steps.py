"""The steps of an analysis of a language model; a new one is a line below."""

from pathlib import Path
from typing import NamedTuple

from tangentlens.analysis.arguments.features import FeatureSet
from tangentlens.analysis.discovery.discovery import described
from tangentlens.analysis.discovery.facts import feature_classes
from tangentlens.analysis.discovery.shown import Shown
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import KernelModes
from tangentlens.analysis.steps import Step
from tangentlens.language.sweep.result import Sweep
from tangentlens.language.text_analysis.baselines import baselines
from tangentlens.language.text_analysis.cards import card_findings
from tangentlens.language.text_analysis.case import TextCase
from tangentlens.language.text_analysis.facts import window_facts
from tangentlens.language.text_analysis.label_table import label_table
from tangentlens.progress import Progress


class TextFindings(NamedTuple):
    """What every step is given: the case, its modes, the sweep that they come from, a folder for further sweeps."""

    case: TextCase
    kernels: KernelModes
    swept: Sweep
    work: Path
    progress: Progress

    @property
    def labels(self) -> FeatureSet:
        """The labels that can be tested."""
        return self.case.features


def _labels(given: TextFindings) -> Findings:
    return label_table(given.case, given.kernels, given.work / "untrained", given.progress)


def _baselines(given: TextFindings) -> Findings:
    return baselines(given.case, given.kernels, given.progress)


def _discovery(given: TextFindings) -> Findings:
    case = given.case
    texts = case.windows.text
    return described(
        given.kernels.groups,
        window_facts(case),
        feature_classes(case.features),
        case.halves,
        case.generator("enrichment"),
        shown=Shown("text", texts.__getitem__),
        progress=given.progress,
    )


def _cards(given: TextFindings) -> Findings:
    return card_findings(given.case, given.swept)


TEXT_STEPS: tuple[Step[TextFindings, []], ...] = (
    Step("features", ("labels",), _labels),
    Step("baselines", ("labels",), _baselines),
    Step("discovery", (), _discovery),
    Step("cards", (), _cards),
)
