"""Many vector-Jacobian products of one graph at once, quietly."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


@final
class SharedContext(AbstractContextManager[None]):
    """A context that changes the whole process: entered by the first of several threads, left by the last.

    Args:
        make: the context.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make, self._lock, self._inside = make, threading.Lock(), 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._stack.enter_context(self._make())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stack.close()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
        yield


_QUIET = SharedContext(_quiet)
_PLAIN_ATTENTION = SharedContext(lambda: sdpa_kernel(SDPBackend.MATH))


def without_advice() -> AbstractContextManager[None]:
    """Keep torch's notes on its own vectorisation and deprecations from the user, who can do nothing about them."""
    return _QUIET


def plain_attention() -> AbstractContextManager[None]:
    """Let torch compute attention by matrix products: its fused kernels have no forward mode."""
    return _PLAIN_ATTENTION


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
