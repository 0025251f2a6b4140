"""Many vector-Jacobian products of one graph at once, quietly."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def without_advice() -> Iterator[None]:
    """Keep torch's notes on its own vectorisation and deprecations from the user, who can do nothing about them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
        yield


def vectorised_grad(
    outputs: Sequence[Tensor], inputs: Sequence[Any], cotangents: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients for a stack of cotangents; the graph is kept.

    Args:
        outputs: tensors of the graph.
        inputs: tensors or gradient edges of the graph.
        cotangents: for each output (R, *its shape).

    Returns:
        for each input (R, *its shape), or None where no output depends on it. Operations that cannot be vectorised
        over R are run one by one.
    """
    with without_advice():
        try:
            return torch.autograd.grad(
                outputs, inputs, cotangents, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
        except (RuntimeError, NotImplementedError):
            singles = [
                torch.autograd.grad(outputs, inputs, row, retain_graph=True, allow_unused=True)
                for row in zip(*cotangents, strict=True)
            ]
    return tuple(None if row[0] is None else torch.stack(row) for row in zip(*singles, strict=True))
