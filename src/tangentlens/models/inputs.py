"""Batches of a model's inputs: a tensor, a tuple or a dict of tensors with the batch axis first."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.models.half_precision import widened

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


def as_inputs(inputs: Any, like: Tensor, name: str = "inputs") -> Inputs:
    """A user's inputs as tensors: arrays and nested lists too, half-precision numbers widened to float32.

    Args:
        inputs: a tensor, an array, a list of numbers, or a tuple, list or mapping of such.
        like: a parameter of the model: arrays and lists of real numbers take its dtype and device.
        name: of the argument, for messages.

    Raises:
        InvalidInputError: something in it is no array of numbers.
    """
    if isinstance(inputs, Mapping):
        return {str(key): _as_tensor(value, like, f"{name}[{key!r}]") for key, value in inputs.items()}
    if isinstance(inputs, tuple) or (isinstance(inputs, list) and any(isinstance(i, Tensor) for i in inputs)):
        return tuple(_as_tensor(value, like, f"{name}[{i}]") for i, value in enumerate(inputs))
    return _as_tensor(inputs, like, name)


def _as_tensor(value: Any, like: Tensor, name: str) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value.detach()
        return widened(tensor.clone() if tensor.is_inference() else tensor)
    try:
        array = np.asarray(value)
        tensor = torch.as_tensor(array if array.flags.writeable else array.copy(), device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(
            f"a {type(value).__name__} is no array of numbers",
            where=name,
            remedy="Give a tensor, an array, or a tuple or a dict of them, with the batch axis first.",
        ) from error
    return tensor.to(like.dtype) if tensor.is_floating_point() else tensor


def batch_size(inputs: Inputs) -> int:
    """The length N of the batch axis, the first of every tensor in `inputs`.

    Raises:
        InvalidInputError: there is no tensor, the batch is empty, or the lengths differ.
    """
    tensors = list(_leaves(inputs))
    if not tensors or not all(isinstance(t, Tensor) and t.ndim > 0 for _, t in tensors):
        raise InvalidInputError(
            "inputs must be a tensor, a tuple of tensors or a dict of tensors, with the batch axis first",
            where="inputs",
        )
    lengths = {name: t.shape[0] for name, t in tensors}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"the batch axes have different lengths {lengths}", where="inputs")
    size = next(iter(lengths.values()))
    if size == 0 or any(t.numel() == 0 for _, t in tensors):
        raise InvalidInputError("the inputs are empty", where="inputs", remedy="Give at least one example.")
    return size


def take(inputs: Inputs, rows: Tensor | slice) -> Inputs:
    """The examples `rows` of a batch."""
    return map_inputs(lambda tensor: tensor[rows], inputs)


def at_least_two(inputs: Inputs) -> Inputs:
    """The batch, a single example twice: models may treat a batch of one in another way."""
    return take(inputs, torch.tensor([0, 0])) if batch_size(inputs) == 1 else inputs


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply a function to every tensor of a batch."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def concatenate(first: Inputs, second: Inputs) -> Inputs:
    """Two batches as one, the second's examples behind the first's.

    Raises:
        InvalidInputError: they differ in structure, dtype or in the shape of an example.
    """
    a, b = dict(_leaves(first)), dict(_leaves(second))
    like_a = {name: (t.shape[1:], t.dtype, t.device) for name, t in a.items()}
    like_b = {name: (t.shape[1:], t.dtype, t.device) for name, t in b.items()}
    if type(first) is not type(second) or like_a != like_b:
        raise InvalidInputError(
            f"inputs2 differs from inputs in structure, shape, dtype or device: {like_a} against {like_b}",
            where="inputs2",
            remedy="Pad both to one shape and give them one dtype and device.",
        )
    joined = {name: torch.cat([a[name], b[name]]) for name in a}
    if isinstance(first, Tensor):
        return joined["inputs"]
    return joined if isinstance(first, dict) else tuple(joined.values())


def _leaves(inputs: Inputs) -> list[tuple[str, Tensor]]:
    if isinstance(inputs, dict):
        return list(inputs.items())
    if isinstance(inputs, tuple):
        return [(f"inputs[{i}]", tensor) for i, tensor in enumerate(inputs)]
    return [("inputs", inputs)]


def as_call(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Positional and named arguments of the model's call on a batch."""
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}
