"""The overlap of random subspaces as figures."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.evidence.subspace_nulls import random_overlap_mean, random_overlaps
from tangentlens.settings.figures import Figures


def random_subspace_figures(
    name: str, *, dimension: int, features: Float[Tensor, "N r"], draws: int, generator: torch.Generator
) -> Figures:
    """`null.random_subspace.overlap.<name>.percent`, the mean in closed form, and `.quantile95`, sampled.

    Args:
        name: of the overlap.
        dimension: of the subspaces, that of the modes.
        features: (N, r) orthonormal basis.
        draws: subspaces behind the quantile.
        generator: their source.
    """
    N, r = features.shape
    sampled = random_overlaps(dimension, r, N, draws=draws, generator=generator)
    key = f"null.random_subspace.overlap.{name}.percent"
    return {
        key: (100 * random_overlap_mean(dimension, r, N) / r, "percent"),
        f"{key}.quantile95": (100 * float(sampled.quantile(0.95)) / r, "percent"),
    }
