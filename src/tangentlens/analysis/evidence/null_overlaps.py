"""Overlaps where they should not be: under null models, and of random subspaces."""

from tangentlens.analysis.evidence.trained_network import Space, TrainedNetwork
from tangentlens.analysis.findings import Figures, Findings, keyed
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.statistics.subspace_nulls import random_overlap_mean, random_overlaps
from tangentlens.store.figure_keys import NullAccuracy, NullOverlap, NullQuantile

_RANDOM = "random_subspace"


def null_overlaps(network: TrainedNetwork, options: EvidenceConfig) -> Findings:
    """`null.<model>.overlap.<name>.percent` of every null model, and of random subspaces.

    The latter are `null.random_subspace.overlap.<name>.percent`, the mean in closed form, and `.quantile95`, sampled.
    """
    figures: Figures = {}
    for null, overlaps in (network.nulls or {}).items():
        found = overlaps()
        figures |= keyed({NullOverlap(null, name): percent for name, percent in found.percents.items()})
        if found.train_accuracy is not None:
            figures |= keyed({NullAccuracy(null): found.train_accuracy})
    for name, space in (network.spaces or {}).items():
        figures |= _random_subspaces(network, name, space, options.null_draws)
    return Findings(figures)


def _random_subspaces(network: TrainedNetwork, name: str, space: Space, draws: int) -> Figures:
    N, r = network.features[space.family].shape
    sampled = random_overlaps(space.modes, r, N, draws=draws, generator=network.random(f"random subspaces {name}"))
    return keyed(
        {
            NullOverlap(_RANDOM, name): 100 * random_overlap_mean(space.modes, r, N) / r,
            NullQuantile(_RANDOM, name): 100 * float(sampled.quantile(0.95)) / r,
        }
    )
