"""Evidence on the modes of one seed: permutation tests, comparison with a baseline, ablation of directions.

Every array that it reads is in the stored run; the model itself is loaded again.
"""

from itertools import product

import numpy as np
import torch

from tangentlens.alignment.selection import held_out_statistic
from tangentlens.analysis.findings import Figures, Findings, keyed, measured_in_parts
from tangentlens.language.analysis.ablation import ablation_figures
from tangentlens.language.analysis.config import Config
from tangentlens.language.analysis.examined import Examined, examined
from tangentlens.language.analysis.story_bootstrap import MEASURES
from tangentlens.language.analysis.word_drops import word_drops
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.statistics.paired import paired_comparison
from tangentlens.statistics.permutation import permutation_test
from tangentlens.store.figure_keys import BASELINE, GlobalP, LabelLeadP, LabelScore, LeadP, NullMacro


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """Tests and interventions on one seed's modes; docs/evidence.md defines every figure.

    Args:
        config: of the run.
        measured: the record of the seed.
        progress: receives the parts.
    """
    seed, parts = measured.seed, (_permutations, _comparisons, _ablations)
    return measured_in_parts(seed, examined(config, measured), parts, f"seed {seed}: evidence", progress)


def _permutations(measured: Examined) -> Findings:
    """Whether a label's AUROC could come from the choice of mode, sign and layer alone.

    Labels are permuted among the windows of a half, and everything is chosen again for each order. Windows of one
    story count as exchangeable.
    """
    figures: Figures = {}
    task = measured.subject.task
    for name, scores in measured.scores.items():
        found = permutation_test(
            held_out_statistic(scores.double(), task.train),
            task.labels,
            generator=measured.random(f"permutations {name}"),
            within=task.train,
            permutations=measured.scoring.permutations,
        )
        for place, (label, family) in enumerate(zip(task.names, task.families, strict=True)):
            for measure, p in (("p", found.p), ("p_family", found.p_family)):
                figures |= keyed({LabelScore(measure, family, label, name): float(p[place])})
        null = float(found.null[:, task.main].mean())
        figures |= keyed({GlobalP(name): found.p_global, NullMacro("auroc", name): null})
    return Findings(figures)


def _comparisons(measured: Examined) -> Findings:
    """p of the difference between each geometry's modes and principal components on the same windows."""
    figures: Figures = {}
    task, tested = measured.subject.task, ~measured.subject.task.train
    labels = task.labels[tested]
    picked = {name: choice.scores(measured.scores[name][tested]) for name, choice in measured.choices.items()}
    for (measure, weighted), name, family in product(MEASURES.items(), picked, task.kinds):
        if name == BASELINE:
            continue
        members = task.members(family)
        found = paired_comparison(
            weighted,
            picked[name][:, members],
            picked[BASELINE][:, members],
            labels[:, members],
            torch.zeros(len(labels)),
            random=np.random.default_rng(measured.subject.seed),
            resamples=1,  # intervals are those over stories, which the run has
            permutations=measured.scoring.permutations,
        )
        figures |= keyed({LeadP(measure, family, name): found.macro_p})
        for place, p in zip(members, found.p_family.tolist(), strict=True):
            figures |= keyed({LabelLeadP(measure, family, task.names[place], name): p})
    return Findings(figures)


def _ablations(measured: Examined) -> Findings:
    """For each label of the first family: the drop of its own words, and of others, without its mode's direction."""
    kernels = [name for name in measured.choices if name != BASELINE]
    return ablation_figures(word_drops(measured), kernels, measured.scoring, measured.subject.seed)
