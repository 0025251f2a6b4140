"""Real tensors from what users have at hand: tensors, numpy arrays, lists, data frames, eigenpairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.records import Eigenpairs

ArrayLike = Tensor | np.ndarray[Any, np.dtype[Any]] | Sequence[Any]  # and whatever else numpy makes an array of


def real_tensor(value: object, name: str) -> Tensor:
    """A detached, dense, real tensor with the numbers of `value`; shares their memory where it can.

    Args:
        value: a tensor; anything that numpy makes an array of numbers from (arrays, nested lists, data frames); or
            Eigenpairs, which stand for their vectors.
        name: of the argument, for the message.

    Raises:
        InvalidInputError: it is not an array of real numbers.
    """
    tensor = value.vectors if isinstance(value, Eigenpairs) else value
    if not isinstance(tensor, Tensor):
        tensor = _from_numpy(value, name)
    if tensor.is_complex():
        raise InvalidInputError(
            f"the numbers are complex ({tensor.dtype})", where=name, remedy="Give real and imaginary part separately."
        )
    tensor = tensor.detach()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _from_numpy(value: object, name: str) -> Tensor:
    try:
        if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
            return torch.stack([torch.as_tensor(item) for item in value])
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"expected an array of real numbers, not a {type(value).__name__}",
            where=name,
            remedy="Give a tensor, a numpy array or a nested list of numbers.",
        ) from error
