"""Overlaps where they should not be: under null models, and of random subspaces."""

from collections.abc import Mapping

from tangentlens.evidence.subspace_nulls import random_overlap_mean, random_overlaps
from tangentlens.settings.evidence_config import EvidenceConfig
from tangentlens.settings.figures import Figures, Findings
from tangentlens.settings.subject import Space, Subject


def null_overlaps(subject: Subject, options: EvidenceConfig) -> Findings:
    """`null.<model>.overlap.<name>.percent` of every null model, and of random subspaces.

    The latter are `null.random_subspace.overlap.<name>.percent`, the mean in closed form, and `.quantile95`, sampled.
    """
    figures: Figures = {}
    for null, overlaps in (subject.nulls or {}).items():
        found = overlaps()
        figures |= _percents(f"null.{null}", found.percents)
        if found.train_accuracy is not None:
            figures[f"null.{null}.train.accuracy"] = (found.train_accuracy, "percent")
    for name, space in (subject.spaces or {}).items():
        figures |= _random_subspaces(subject, name, space, options.null_draws)
    return Findings(figures)


def _percents(prefix: str, percents: Mapping[str, float]) -> Figures:
    return {f"{prefix}.overlap.{name}.percent": (percent, "percent") for name, percent in percents.items()}


def _random_subspaces(subject: Subject, name: str, space: Space, draws: int) -> Figures:
    N, r = subject.features[space.family].shape
    sampled = random_overlaps(space.modes, r, N, draws=draws, generator=subject.random(f"random subspaces {name}"))
    key = f"null.random_subspace.overlap.{name}.percent"
    return {
        key: (100 * random_overlap_mean(space.modes, r, N) / r, "percent"),
        f"{key}.quantile95": (100 * float(sampled.quantile(0.95)) / r, "percent"),
    }
