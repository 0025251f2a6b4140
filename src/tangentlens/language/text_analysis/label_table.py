"""The labels in the modes of every group, beside a network that was not trained."""

from pathlib import Path

from tangentlens.analysis.findings import Findings, merged
from tangentlens.analysis.modes.kernel_modes import KernelModes
from tangentlens.analysis.questions.alignment import align
from tangentlens.analysis.questions.feature_table import alignment_findings, enough_permutations
from tangentlens.analysis.questions.learned import learned
from tangentlens.analysis.questions.verdicts import rows
from tangentlens.language.text_analysis.case import TextCase
from tangentlens.language.text_analysis.kernels import kernel_modes, swept
from tangentlens.progress import Progress, silent


def label_table(case: TextCase, kernels: KernelModes, work: Path, progress: Progress = silent) -> Findings:
    """Alignment of every label with every group's modes, and whether training added to it.

    The table "alignment" is that of `tl.analyse`; whether the model uses a label is not asked here.

    Args:
        case: with at least one label that can be tested.
        kernels: of the trained model.
        work: folder of the untrained model's sweep.
        progress: receives the stages.
    """
    features = case.features.features
    permutations = case.options.permutations or enough_permutations(len(features) * len(kernels.groups))
    progress("alignment", 0, 2)
    alignments = align(
        kernels.groups,
        features,
        case.halves,
        permutations=permutations,
        resamples=case.options.resamples,
        generator=case.generator("alignment"),
    )
    progress("alignment", 1, 2)
    untrained = []
    if case.untrained is not None:
        found = swept(case.untrained, case.windows, case.options, work, _named(progress))
        untrained = [kernel_modes(found, case.options.modes).groups]
    generator = case.generator("untrained networks")
    differences = learned(alignments, case.by_name, kernels.groups, untrained, case.halves, generator)
    table = rows(alignments, differences, [None] * len(alignments))
    progress("alignment", 2, 2)
    return merged((alignment_findings(table), Findings(notes=_notes(case, permutations))))


def _named(progress: Progress) -> Progress:
    return lambda stage, done, total: progress(f"untrained: {stage}", done, total)


def _notes(case: TextCase, permutations: int) -> tuple[str, ...]:
    notes = [f"{permutations} permutations of every label, the choice of mode and sign repeated in each"]
    notes += [f"label {name} left out: {reason}" for name, reason in case.features.refused.items()]
    if case.untrained is None:
        notes.append('learned: not done, needs untrained="reinitialise"')
    else:
        notes.append("learned: compared with one network of the same architecture whose parameters were drawn anew")
    if len(case.windows.text_index.unique()) < case.count:
        notes.append("several windows come from one text: they count as independent within a half")
    notes.append("used: not done, no intervention on the labels of a text is made here")
    return tuple(notes)
