"""Comparison of two results of one computation, up to rounding."""

import math

import torch
from torch import Tensor

# above rounding over many layers (norms of transformers round to float32 in float64 models), below any real change
_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}
_COARSE = 5e-2  # for float16 and bfloat16


def relative_difference(first: Tensor, second: Tensor) -> float:
    """Largest |a - b| over the largest |a|; infinite where a number is not finite."""
    scale = float(first.detach().abs().max())
    difference = float((first - second).detach().abs().max())
    if not math.isfinite(difference) or not math.isfinite(scale):
        return math.inf
    return difference / scale if scale else difference


def tolerance(dtype: torch.dtype) -> float:
    """Relative difference up to which two results of that dtype count as the same."""
    return _TOLERANCE.get(dtype, _COARSE)
