"""Labels of the next word that can be tested on some windows, and the halves of the windows."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from tangentlens.alignment.splits import balanced_half
from tangentlens.features.grammar import Labels, morphology_labels, pos_labels, pos_twins, repetitions, select_labels
from tangentlens.language.analysis.config import Config
from tangentlens.language.analysis.task import Task
from tangentlens.language.windows.windows import Windows


class Testable(NamedTuple):
    """The labels that can be tested, and why others cannot."""

    task: Task
    refused: Mapping[str, str]


def testable_labels(config: Config, windows: Windows, seed: int) -> Testable:
    """The labels that can be tested, and the halves."""
    rules = config.labels
    pos = pos_labels(windows.pos, [name for name in config.windows.pos if name in windows.pos])
    selected = select_labels(
        morphology_labels(windows.morphology),
        windows.word,
        support=rules.support,
        distinct=rules.distinct,
        largest_share=rules.largest_share,
    )
    labels = torch.cat([pos.matrix, selected.labels.matrix], dim=1)
    names = (*pos.names, *selected.labels.names)
    families = ("pos",) * len(pos.names) + ("morph",) * len(selected.labels.names)
    train = balanced_half(labels, seed=seed, groups=windows.story)
    return Testable(Task(names, families, labels, train, windows.story), selected.refused)


def label_notes(windows: Windows, refused: Mapping[str, str]) -> tuple[str, ...]:
    """Labels that are nearly another, and those left out."""
    pos = pos_labels(windows.pos)
    morphology = morphology_labels(windows.morphology)
    kept = Labels(morphology.names, morphology.matrix).restrict([n for n in morphology.names if n not in refused])
    notes = [
        f"{r.first} and {r.second} are on almost the same windows (Jaccard {r.jaccard:.2f})" for r in repetitions(kept)
    ]
    notes += [
        f"{t.label} is almost {t.pos} (purity {t.purity:.2f}, coverage {t.coverage:.2f})" for t in pos_twins(kept, pos)
    ]
    if refused:
        notes.append("labels left out: " + "; ".join(f"{name} ({reason})" for name, reason in refused.items()))
    return tuple(notes)
