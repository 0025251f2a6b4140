"""A measured subject with every method's stored scores and the modes chosen for each label."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.options import evidence_generator
from tangentlens.language.analysis.config import Config, ScoringConfig
from tangentlens.language.analysis.method import Choice, stored_choice
from tangentlens.language.analysis.subject import LanguageSubject, stored_subject
from tangentlens.records import Measurement


@dataclass(frozen=True)
class Examined:
    """A subject with what was measured of it.

    Attributes:
        subject: the model, windows and labels.
        scoring: sizes of tests.
        scores: method -> scores of every window.
        choices: method -> layer, mode and sign chosen for each label.
    """

    subject: LanguageSubject
    scoring: ScoringConfig
    scores: Mapping[str, Float[Tensor, "N layers k"]]
    choices: Mapping[str, Choice]

    def random(self, purpose: str) -> torch.Generator:
        """Random numbers for one purpose in this seed."""
        return evidence_generator(self.subject.seed, purpose)


def examined(config: Config, measured: Measurement) -> Examined:
    """The stored record of a seed as a subject with scores and choices."""
    subject, arrays = stored_subject(config, measured), measured.arrays
    scores = {name: arrays[f"{prefix}.scores"].permute(1, 0, 2) for name, prefix in subject.sources.items()}
    choices = {
        name: stored_choice(arrays, prefix, scores[name], subject.task) for name, prefix in subject.sources.items()
    }
    return Examined(subject, config.scoring, scores, choices)
