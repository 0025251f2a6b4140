"""Holm's correction of p-values for having tested several things; the maximum statistic stands in `permutation`."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError


def holm(p_values: Tensor) -> Float[Tensor, "..."]:
    """Corrected p-values that hold the family-wise error over all entries under any dependence (Holm 1979).

    The i-th smallest of m, from 0, is multiplied by m - i, and none is less than a smaller one's.

    Args:
        p_values: any shape, entries between 0 and 1.

    Raises:
        InvalidInputError: no p-values, or one outside 0 to 1 (NaN included).
    """
    values = p_values.detach().cpu().to(torch.float64).flatten()
    if len(values) == 0 or not bool(((values >= 0) & (values <= 1)).all()):
        raise InvalidInputError("p-values lie between 0 and 1, and there is at least one", where="p_values")
    order = values.argsort(stable=True)
    factors = torch.arange(len(values), 0, -1, dtype=torch.float64)
    corrected = torch.empty_like(values)
    corrected[order] = (factors * values[order]).cummax(dim=0).values.clamp_max(1.0)
    return corrected.reshape(p_values.shape)


def holm_of_known(p_values: Sequence[float]) -> list[float]:
    """Holm's p-values over those that are known; the NaN of what was not tested stays."""
    known = [place for place, p in enumerate(p_values) if math.isfinite(p)]
    corrected = [math.nan] * len(p_values)
    if known:
        found = holm(torch.tensor([p_values[place] for place in known], dtype=torch.float64))
        for place, p in zip(known, found.tolist(), strict=True):
            corrected[place] = p
    return corrected
