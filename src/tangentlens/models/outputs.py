"""From what a model returns to the outputs (N, C) that are analysed."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.models.half_precision import widened

PickOutput = Callable[[Any], Any]


def pick_output(returned: Any) -> Any:
    """The output tensor in what a module returns: itself, the first of a tuple, or a record's `logits`."""
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, Mapping) and "logits" in returned:  # a Hugging Face output is a mapping
        return returned["logits"]
    if isinstance(returned, tuple | list) and returned and not hasattr(returned, "logits"):
        return returned[0]
    return getattr(returned, "logits", returned)


def checked_output(picked: Any) -> Tensor:
    """The outputs (N, C) or (N,), as real floating-point numbers.

    Raises:
        InvalidInputError: they are something else.
    """
    remedy = "Pass output=, a function from what the model returns to the (N, C) tensor to analyse."
    if not isinstance(picked, Tensor):
        raise InvalidInputError(f"the model's output is a {type(picked).__name__}", where="output", remedy=remedy)
    if picked.ndim > 2:
        raise InvalidInputError(
            f"the model's output has shape {tuple(picked.shape)}, not (N, C)",
            where="output",
            remedy=f"{remedy} For all entries: output=lambda y: y.flatten(1).",
        )
    if not picked.dtype.is_floating_point:
        raise InvalidInputError(
            f"the model's output holds {picked.dtype} numbers, which have no derivative", where="output", remedy=remedy
        )
    return widened(picked)
