"""The loss of each example, from the name of a loss or a function of the user's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tangentlens.errors import InvalidInputError

ExampleLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Float[Tensor, "n C"], targets: Tensor) -> Float[Tensor, " n"]:
    """-log softmax(outputs)[target]."""
    return functional.cross_entropy(outputs, targets.long(), reduction="none")


def mean_squared_error(outputs: Float[Tensor, "n C"], targets: Tensor) -> Float[Tensor, " n"]:
    """Mean over the outputs of (output - target)^2."""
    return (outputs - targets.reshape(outputs.shape).to(outputs)).square().mean(dim=1)


def binary_cross_entropy(outputs: Float[Tensor, "n C"], targets: Tensor) -> Float[Tensor, " n"]:
    """Mean over the outputs of the cross-entropy of sigmoid(output)."""
    wanted = targets.reshape(outputs.shape).to(outputs)
    return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(dim=1)


LOSSES: dict[str, ExampleLoss] = {
    "cross_entropy": cross_entropy,
    "mse": mean_squared_error,
    "binary_cross_entropy": binary_cross_entropy,
}
_ALIASES = {"mean_squared_error": "mse", "bce": "binary_cross_entropy", "ce": "cross_entropy"}


def read_targets(targets: Any, N: int) -> Tensor | None:
    """(N,) or (N, r) targets; integers stay integers.

    Raises:
        InvalidInputError: not one for each input, or not numbers.
    """
    if targets is None:
        return None
    try:
        tensor = targets.detach().cpu() if isinstance(targets, Tensor) else torch.from_numpy(np.array(targets))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            "the targets are no numbers", where="targets", remedy="Give a tensor, an array or a list of numbers."
        ) from error
    if tensor.ndim == 0 or len(tensor) != N:
        raise InvalidInputError(
            f"targets of shape {tuple(tensor.shape)} for {N} inputs", where="targets", remedy="Give one for each input."
        )
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise InvalidInputError("a target is NaN or infinite", where="targets", remedy="Leave that input out.")
    return tensor


def example_loss(loss: Any, targets: Tensor, outputs: Float[Tensor, "N C"]) -> tuple[str, ExampleLoss]:
    """The name of a loss and the function to one number for each example, tried on the outputs.

    Args:
        loss: "cross_entropy", "mse", "binary_cross_entropy"; a function of (outputs, targets) to a loss for each
            example; a module of torch's losses; or None for the loss that goes with the targets: cross-entropy for
            integers, binary cross-entropy where there is one output, mean squared error for real numbers.
        targets: (N, ...).
        outputs: (N, C).

    Raises:
        InvalidInputError: there is no such loss, or it fails on these outputs and targets.
    """
    name, function = _named(loss, targets, outputs)
    try:
        values = function(outputs, targets)
    except Exception as error:  # whatever a user's function raises
        raise InvalidInputError(
            f"the loss {name} fails on outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}: {error}",
            where="loss",
            remedy="Give a loss that goes with the targets: cross_entropy for classes, mse for numbers.",
        ) from error
    if not isinstance(values, Tensor) or values.shape != (len(outputs),) or not bool(values.isfinite().all()):
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InvalidInputError(
            f"the loss {name} gave {found}, not one finite number for each of {len(outputs)} examples",
            where="loss",
            remedy="Return one loss for each example, for example with reduction='none'.",
        )
    return name, function


def _named(loss: Any, targets: Tensor, outputs: Tensor) -> tuple[str, ExampleLoss]:
    if loss is None:
        if targets.is_floating_point():
            loss = "mse"
        else:
            loss = "cross_entropy" if outputs.shape[1] > 1 else "binary_cross_entropy"
    if isinstance(loss, str):
        name = _ALIASES.get(loss, loss)
        if name not in LOSSES:
            raise InvalidInputError(
                f"there is no loss {loss!r}", where="loss", remedy=f"Choose {', '.join(LOSSES)} or give a function."
            )
        return name, LOSSES[name]
    if not callable(loss):
        raise InvalidInputError(
            f"a {type(loss).__name__} is no loss",
            where="loss",
            remedy=f"Choose {', '.join(LOSSES)} or give a function.",
        )
    name = getattr(loss, "__name__", type(loss).__name__)
    return name, _by_example(loss)


def _by_example(loss: ExampleLoss) -> ExampleLoss:
    """A function that may return the mean over a batch, called on one example at a time where it does."""

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        whole = loss(outputs, targets)
        if isinstance(whole, Tensor) and whole.ndim >= 1 and len(whole) == len(outputs):
            return whole.flatten(1).mean(dim=1) if whole.ndim > 1 else whole
        return torch.stack([loss(outputs[i : i + 1], targets[i : i + 1]).reshape(()) for i in range(len(outputs))])

    return each
