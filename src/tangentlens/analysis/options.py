"""How much evidence a run collects; the same for every setting."""

import zlib

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from tangentlens.analysis.section import Section
from tangentlens.statistics.subspace_nulls import random_feature_spaces


class EvidenceConfig(Section):
    """Sizes of the nulls, controls and interventions."""

    random_curves: int = Field(
        default=100, ge=1, description="random feature spaces followed along training, the null of the overlap's peak"
    )
    random_subspaces: int = Field(default=10, ge=1, description="random subspaces that each ablation is compared with")
    null_draws: int = Field(default=1000, ge=20, description="random subspaces behind the quantiles of an overlap")
    directions: int = Field(default=8, ge=1, description="leading directions that inputs and activations move along")
    doses: tuple[float, ...] = Field(
        default=(0.1, 0.3, 1.0, 3.0),
        min_length=1,
        description="lengths of those moves, in units of the values' own spread; the ratios are at the first",
    )

    def random_spaces(self, N: int, dimension: int, seed: int) -> Float[Tensor, "R N d"]:
        """The random feature spaces that a seed follows along training."""
        return random_feature_spaces(
            N, dimension, self.random_curves, evidence_generator(seed, "random feature spaces")
        )


def evidence_generator(seed: int, purpose: str) -> torch.Generator:
    """A source of random numbers for one purpose in one seed, apart from the one behind its data and weights."""
    # torch's generator on the CPU reads 32 bits of its seed and no more.
    return torch.Generator().manual_seed(zlib.crc32(f"{purpose}, seed {seed}".encode()))
