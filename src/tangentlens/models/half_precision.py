"""Numbers of half precision, which the computation widens to float32."""

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


def widened(tensor: Tensor) -> Tensor:
    """The tensor, in float32 where it has half precision."""
    return tensor.float() if tensor.dtype in HALF else tensor
