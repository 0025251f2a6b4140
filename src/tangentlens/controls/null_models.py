"""Null models: labels and inputs in random order, for the same analysis of data without the structure in question.

Null distributions of overlaps stand in statistics/subspace_nulls.py, permutation tests in statistics/permutation.py.
"""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


def permuted_labels(labels: Int[Tensor, " N"], generator: torch.Generator) -> Int[Tensor, " N"]:
    """Permute the labels: a network trained on them can only memorise.

    Their distribution is the data's; what they have to do with the inputs is chance.
    """
    return labels[torch.randperm(len(labels), generator=generator).to(labels.device)]


def permuted_columns(
    inputs: Shaped[Tensor, "N w"], parts: tuple[int, ...], generator: torch.Generator
) -> Shaped[Tensor, "N w"]:
    """Permute the rows of every part of the inputs, each part in an order of its own.

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
