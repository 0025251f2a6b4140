"""Null models: the same analysis where what it is said to show cannot be there."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tangentlens.features.functions import random_functions


def permuted_labels(labels: Int[Tensor, " N"], generator: torch.Generator) -> Int[Tensor, " N"]:
    """The labels in a random order: a network trained on them can only memorise.

    Their distribution is the data's; what they have to do with the inputs is chance.
    """
    return labels[torch.randperm(len(labels), generator=generator).to(labels.device)]


def permuted_columns(
    inputs: Shaped[Tensor, "N w"], parts: tuple[int, ...], generator: torch.Generator
) -> Shaped[Tensor, "N w"]:
    """Inputs whose parts are each put in a random order of their own.

    Every part keeps its values and their frequencies; which part goes with which, and with which row's features, is
    chance.

    Args:
        inputs: (N, w).
        parts: widths of the parts, adding up to w: (p, p) for two one-hot codes side by side.
        generator: source of one permutation a part.
    """
    shuffled = [
        part[torch.randperm(len(inputs), generator=generator).to(inputs.device)] for part in inputs.split(parts, dim=1)
    ]
    return torch.cat(shuffled, dim=1)


def random_feature_spaces(N: int, dimension: int, count: int, generator: torch.Generator) -> Float[Tensor, "R N d"]:
    """Random feature spaces with mean zero over N inputs, as many as asked for, each of the dimension of a family."""
    return torch.stack([random_functions(N, dimension, generator) for _ in range(count)])


def random_feature_overlaps(modes: Float[Tensor, "N d"], spaces: Float[Tensor, "R N r"]) -> Float[Tensor, " R"]:
    """Percent of each random feature space inside the modes: the null of an overlap along training."""
    R, N, r = spaces.shape
    inside = modes.T @ spaces.transpose(0, 1).reshape(N, R * r).to(modes)  # (d, R r)
    return 100 * inside.square().sum(dim=0).reshape(R, r).mean(dim=1)
