"""Random feature spaces beside a family of features: the null of what its overlap does along training."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.features.functions import random_functions
from tangentlens.settings.evidence_config import EvidenceConfig, evidence_generator


def random_feature_spaces(N: int, dimension: int, config: EvidenceConfig, seed: int) -> Float[Tensor, "R N d"]:
    """Random feature spaces with mean zero over N inputs, each of the dimension of the family."""
    generator = evidence_generator(seed, "random feature spaces")
    return torch.stack([random_functions(N, dimension, generator) for _ in range(config.random_curves)])


def random_feature_overlaps(modes: Float[Tensor, "N d"], spaces: Float[Tensor, "R N r"]) -> Float[Tensor, " R"]:
    """Percent of each random feature space inside the modes."""
    R, N, r = spaces.shape
    inside = modes.T @ spaces.transpose(0, 1).reshape(N, R * r).to(modes)  # (d, R r)
    return 100 * inside.square().sum(dim=0).reshape(R, r).mean(dim=1)
