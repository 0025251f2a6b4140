"""From modes over (window, output coordinate) to one signed score for each window."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError


@dataclass(frozen=True)
class ModeScores:
    """The best rank-one picture v[i, c] = score[i] direction[c] of every mode.

    Attributes:
        scores: (N, k) signed score of each window, of the mode's norm; the largest in size is positive.
        directions: (c, k) unit output directions.
        shares: (k,) share of the mode's squared norm that the picture holds; near 1 where the mode is of rank one.
    """

    scores: Float[Tensor, "N k"]
    directions: Float[Tensor, "c k"]
    shares: Float[Tensor, " k"]


def mode_scores(modes: Tensor) -> ModeScores:
    """First singular pair of every mode, as arXiv 2510.00468 scores windows.

    Args:
        modes: (N, c, k), for each mode an (N, c) matrix.

    Raises:
        InvalidInputError: there are no modes.
    """
    if modes.ndim != 3 or 0 in modes.shape:
        raise InvalidInputError(f"expected modes of shape (N, c, k), not {tuple(modes.shape)}", where="modes")
    left, sizes, right = torch.linalg.svd(modes.double().permute(2, 0, 1), full_matrices=False)
    scores = (left[:, :, 0] * sizes[:, :1]).T  # (N, k)
    strongest = scores.gather(0, scores.abs().argmax(dim=0, keepdim=True))  # (1, k)
    sign = torch.where(strongest < 0, -1.0, 1.0).to(scores)
    total = sizes.square().sum(1)
    shares = torch.where(total > 0, sizes[:, 0].square() / total, total)
    return ModeScores(scores * sign, right[:, 0].T * sign, shares)
