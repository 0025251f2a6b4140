"""Many vector-Jacobian products of one graph at once, quietly."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial
from typing import Any, final

import torch
from torch import Tensor
from torch._C import _functorch
from torch.backends import cuda


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


@cache
def _silence() -> None:
    """Switch off torch's note on what vectorisation cannot do, and load what forward mode needs, which warns too.

    For the process and once: the filters of `warnings` are its own and cannot be changed by one thread.
    """
    switch = getattr(_functorch, "_set_vmap_fallback_warning_enabled", None)
    if switch is not None:
        switch(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = torch.ones(1, device="cpu")
        torch.func.vmap(partial(torch.func.jvp, torch.sin, (one,)))((one[None],))


@contextmanager
def _products_alone() -> Iterator[None]:
    """torch's own context for this belongs to one thread, its switches to the process."""
    switches = (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp)
    before = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
    try:
        for switch in switches:
            switch(False)
        yield
    finally:
        for switch, state in zip(switches, before, strict=True):
            switch(state)


_PLAIN_ATTENTION = SharedContext(_products_alone)
_FORWARD_MODE = threading.RLock()


def without_advice() -> AbstractContextManager[None]:
    """Keep torch's notes on its own vectorisation and deprecations from the user, who can do nothing about them."""
    _silence()
    return nullcontext()


def plain_attention() -> AbstractContextManager[None]:
    """Let torch compute attention by matrix products: its fused kernels have no forward mode."""
    return _PLAIN_ATTENTION


def forward_mode() -> AbstractContextManager[object]:
    """Let one thread at a time use forward-mode differentiation: its levels belong to the process."""
    return _FORWARD_MODE


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
