"""Evidence on the language-model setting: permutation tests, the comparison with PCA, and what ablation does to words.

Every array that it reads is in the stored run; the model itself is loaded again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.selection import held_out_statistic
from tangentlens.analysis.findings import Figures, Findings, keyed, measured_in_parts
from tangentlens.analysis.options import evidence_generator
from tangentlens.controls.interventions.directions import random_directions
from tangentlens.controls.interventions.edits import without_directions
from tangentlens.language.analysis.ablation import Ablations, ablation_figures
from tangentlens.language.analysis.alignment import FAMILIES, MEASURES, Choice, Task, stored_choice
from tangentlens.language.analysis.config import Config
from tangentlens.language.analysis.last_token import LastTokens, last_tokens
from tangentlens.language.analysis.residual_stream import residual_stream
from tangentlens.language.model import LanguageModel, language_model
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement
from tangentlens.statistics.paired import paired_comparison
from tangentlens.statistics.permutation import permutation_test
from tangentlens.store.figure_keys import LabelScore, Macro, family_of, method_of

_WINDOWS = 32  # whose probabilities of all tokens are in memory together
_RANDOM = 5  # random directions for each label
_RANDOM_NAME = "random"


@dataclass(frozen=True)
class _Subject:
    """A stored seed: its task, and what every method's modes give and were chosen for."""

    config: Config
    measured: Measurement
    task: Task
    scores: Mapping[str, Float[Tensor, "N layers k"]]
    choices: Mapping[str, Choice]

    def random(self, purpose: str) -> torch.Generator:
        return evidence_generator(self.measured.seed, purpose)


def evidence(config: Config, measured: Measurement, progress: Progress = silent) -> Measurement:
    """What a referee would ask of one seed's modes; docs/evidence.md defines every figure.

    Args:
        config: the setting.
        measured: what `measure` found of the seed.
        progress: receives the parts.
    """
    seed, parts = measured.seed, (_permutations, _comparisons, _ablations)
    return measured_in_parts(seed, _subject(config, measured), parts, f"seed {seed}: evidence", progress)


def _subject(config: Config, measured: Measurement) -> _Subject:
    arrays, words = measured.arrays, measured.words
    families = tuple(map(family_of, words["labels.family"]))
    task = Task(
        words["labels.names"],
        families,
        arrays["labels.matrix"].bool(),
        arrays["labels.train"][:, 0].bool(),
        arrays["windows.story"],
    )
    prefixes = {**{method_of(geometry): geometry for geometry in words["geometries"]}, "pca": "pca"}
    scores = {name: arrays[f"{prefix}.scores"].permute(1, 0, 2) for name, prefix in prefixes.items()}
    choices = {name: stored_choice(arrays, prefix, scores[name], task) for name, prefix in prefixes.items()}
    return _Subject(config, measured, task, scores, choices)


def _permutations(subject: _Subject) -> Findings:
    """Whether a label's AUROC could come from the choice of mode, sign and layer alone.

    Labels are permuted among the windows of a half, and everything is chosen again for each order. Windows of one
    story count as exchangeable.
    """
    figures: Figures = {}
    task = subject.task
    for name, scores in subject.scores.items():
        found = permutation_test(
            held_out_statistic(scores.double(), task.train),
            task.labels,
            generator=subject.random(f"permutations {name}"),
            within=task.train,
            permutations=subject.config.scoring.permutations,
        )
        for place, (label, family) in enumerate(zip(task.names, task.families, strict=True)):
            for measure, p in (("p", found.p), ("p_family", found.p_family)):
                figures |= keyed({LabelScore(measure, family, label, name): float(p[place])})
        figures[f"p_global.{name}"] = (found.p_global, "probability")
        figures[f"null.auroc.macro.{name}"] = (float(found.null[:, task.members("pos")].mean()), "ratio")
    return Findings(figures)


def _comparisons(subject: _Subject) -> Findings:
    """Each geometry's modes against principal components on the same windows: does one rank better?"""
    figures: Figures = {}
    task, tested = subject.task, ~subject.task.train
    labels = task.labels[tested]
    picked = {name: choice.scores(subject.scores[name][tested]) for name, choice in subject.choices.items()}
    for (measure, weighted), name, family in product(MEASURES.items(), picked, FAMILIES):
        members = task.members(family)
        if name == "pca" or not members:
            continue
        found = paired_comparison(
            weighted,
            picked[name][:, members],
            picked["pca"][:, members],
            labels[:, members],
            torch.zeros(len(labels)),
            random=np.random.default_rng(subject.measured.seed),
            resamples=1,  # intervals are those over stories, which the run has
            permutations=subject.config.scoring.permutations,
        )
        lead = f"p_lead.{measure}"
        figures |= keyed({Macro(lead, family, name): found.macro_p})
        for place, p in zip(members, found.p_family.tolist(), strict=True):
            figures |= keyed({LabelScore(lead, family, task.names[place], name): p})
    return Findings(figures)


def _ablations(subject: _Subject) -> Findings:
    """For each part of speech: what its mode's direction in the residual stream does for the words of that part.

    The direction of a function q of the windows is Z^T q / ||Z^T q||, with Z the residual stream after the layer at the
    last token, centred, over the train half (controls/interventions/directions.py says why). It is projected out at the
    last token of the windows of the test half. The drop is in the probability of the word's first token that the model
    itself would write, in percentage points; `own` over windows whose next word is of that part, `other` over the rest.
    """
    lm = language_model(subject.config.model.name, revision=subject.config.model.revision)
    ids, task = subject.measured.arrays["windows.input_ids"], subject.task
    stream = residual_stream(lm, {"input_ids": ids}).double()
    test = (~task.train).nonzero()[:, 0]
    edits = dict(_directions(subject, lm, stream))
    chunks = [last_tokens(lm, {"input_ids": ids[rows]}) for rows in test.split(_WINDOWS)]
    before = [chunk.log_probabilities() for chunk in chunks]
    words = [found.argmax(dim=1, keepdim=True) for found in before]
    kept = torch.cat([found.gather(1, word) for found, word in zip(before, words, strict=True)]).exp()[:, 0]
    del before
    drops = {
        key: kept - _probabilities(chunks, words, block, basis, around) for key, (block, basis, around) in edits.items()
    }
    names = [task.names[place] for place in task.members("pos")]
    methods = dict.fromkeys(name for _, name in drops)
    stacked = {name: 100 * torch.stack([drops[label, name] for label in names], dim=1).double() for name in methods}
    draws = [name for name in stacked if name.startswith(_RANDOM_NAME)]
    stacked[_RANDOM_NAME] = torch.stack([stacked.pop(name) for name in draws]).mean(dim=0)
    labels = task.labels[test][:, task.members("pos")]
    examined = Ablations(tuple(names), labels, task.story[test], stacked)
    kernels = [name for name in subject.choices if name != "pca"]
    return ablation_figures(examined, kernels, subject.config.scoring, subject.measured.seed)


def _directions(
    subject: _Subject, lm: LanguageModel, stream: Float[Tensor, "blocks N d"]
) -> Iterator[tuple[tuple[str, str], tuple[int, Tensor, Tensor]]]:
    """(label, method) -> block, direction (d, 1) and the mean around which it is projected out."""
    task = subject.task
    names = [name for name, _ in lm.blocks]
    groups = subject.measured.words["groups"]
    for place in task.members("pos"):
        for name, choice in subject.choices.items():
            layer, mode = int(choice.layer[place]), int(choice.mode[place])
            block = layer if name == "pca" else _block_of(groups[layer], names)
            values = stream[block][task.train]
            around = values.mean(dim=0)
            q = subject.scores[name][task.train][:, layer, mode].double()
            carried = (values - around).T @ (q - q.mean())
            yield (task.names[place], name), (block, (carried / carried.norm())[:, None], around)
        generator = subject.random(f"ablation {task.names[place]}")
        first = next(iter(subject.choices.values()))
        block = _block_of(groups[int(first.layer[place])], names)
        around = stream[block][task.train].mean(dim=0)
        for draw in range(_RANDOM):
            yield (
                (task.names[place], f"{_RANDOM_NAME} {draw}"),
                (block, random_directions(stream.shape[2], 1, generator), around),
            )


def _block_of(group: str, blocks: list[str]) -> int:
    return next(i for i, name in enumerate(blocks) if group.startswith(f"{name}."))


def _probabilities(
    chunks: list[LastTokens], words: list[Int[Tensor, "n 1"]], block: int, basis: Tensor, around: Tensor
) -> Float[Tensor, " n"]:
    """Probability of every window's word once a direction is gone."""

    def edit(values: Tensor) -> Tensor:
        return without_directions(basis, around.to(values))(values)

    found = [chunk.log_probabilities(block, edit).gather(1, word) for chunk, word in zip(chunks, words, strict=True)]
    return torch.cat(found).exp()[:, 0]
