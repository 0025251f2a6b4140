"""Scalars of the logits, one number for each window, and their cotangents at the final hidden state."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.language.head import Head

_TOGETHER = 8  # windows whose logits are there at once

# logits (..., V) -> one number each
Scalar = Callable[[Tensor], Tensor]


def _mean_logit(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    return logits.mean(-1)


def _log_sum_exp(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    return torch.logsumexp(logits, -1)


def _entropy(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    """Of the next word, in nats."""
    log_p = torch.log_softmax(logits, -1)
    return -(log_p.exp() * log_p).sum(-1)


def _largest_logit(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    return logits.max(-1).values


def _own_log_probability(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    """Of the word that the model itself finds most probable."""
    return logits.max(-1).values - torch.logsumexp(logits, -1)


SCALARS: Mapping[str, Scalar] = {
    "mean_logit": _mean_logit,
    "log_sum_exp": _log_sum_exp,
    "entropy": _entropy,
    "largest_logit": _largest_logit,
    "own_log_probability": _own_log_probability,
}


def checked_scalars(outputs: str | Sequence[str]) -> tuple[str, ...]:
    """The names of scalars that an `outputs=` argument gives, in order.

    Raises:
        InvalidInputError: there are none, one is unknown, or one is there twice.
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    known = ", ".join(SCALARS)
    unknown = [name for name in names if name not in SCALARS]
    if unknown or not names:
        what = f"no scalar of the logits is called {unknown[0]!r}" if unknown else "no scalar is named"
        raise InvalidInputError(what, where="outputs", remedy=f"Choose among {known}.")
    if len(set(names)) < len(names):
        raise InvalidInputError("a scalar is named twice", where="outputs", remedy="Name each once.")
    return names


def scalars_with_cotangents(
    head: Head, hidden: Float[Tensor, "N d"], names: Sequence[str]
) -> tuple[Float[Tensor, "S N"], Float[Tensor, "S N d"]]:
    """Scalars of every window, float64, and their gradients in its final hidden state, bias, scale and cap included.

    The scalars are computed in float64 from the logits, and differentiated by autograd through the head.

    Raises:
        NumericalError: a scalar or a gradient is not finite; names the scalar.
    """
    pieces = [_few(head, some, names) for some in hidden.split(_TOGETHER)]
    values = torch.cat([piece[0] for piece in pieces], dim=1)
    gradients = torch.cat([piece[1] for piece in pieces], dim=1)
    for name, own, pulled in zip(names, values, gradients, strict=True):
        if not bool(own.isfinite().all() and pulled.isfinite().all()):
            raise NumericalError("this scalar or its gradient is not finite", where=f"outputs: {name}")
    return values, gradients


def _few(head: Head, hidden: Float[Tensor, "n d"], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = hidden.detach().requires_grad_()
        logits = head.logits(leaf).double()
        values = [SCALARS[name](logits) for name in names]
        pulled = [torch.autograd.grad(value.sum(), leaf, retain_graph=True)[0] for value in values]
    return torch.stack([value.detach() for value in values]), torch.stack(pulled)
