"""Resampling of inputs: bootstrap samples as weights, and a jackknife over blocks."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

_BLOCKS = 20  # of the jackknife


def bootstrap_weights(n: int, resamples: int, generator: Generator) -> Float[Tensor, "B n"]:
    """How often each of n inputs is in each bootstrap sample."""
    drawn = torch.randint(n, (resamples, n), generator=generator)
    return torch.zeros(resamples, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(resamples, n, dtype=torch.float64)
    )


def jackknife_spread(statistic: Callable[[Tensor], float], rows: Int[Tensor, " n"], generator: Generator) -> float:
    """Standard error of a statistic of rows, from leaving out one of some random blocks at a time.

    With g blocks and s_b the statistic without block b, sqrt((g - 1) / g sum (s_b - mean)^2).
    """
    blocks = min(_BLOCKS, len(rows))
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    values = torch.tensor(
        [statistic(torch.cat([shuffled[:start], shuffled[end:]])) for start, end in _block_ends(len(rows), blocks)],
        dtype=torch.float64,
    )
    return float(((blocks - 1) / blocks * (values - values.mean()).square().sum()).sqrt())


def _block_ends(n: int, blocks: int) -> list[tuple[int, int]]:
    return [(n * b // blocks, n * (b + 1) // blocks) for b in range(blocks)]


def mean_interval(values: Float[Tensor, " n"], weights: Float[Tensor, "B n"]) -> tuple[float, float]:
    """95 % bootstrap interval of a mean, from the weights of the samples."""
    means = weights.to(values) @ values / len(values)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high
