"""AUROC and average precision of inputs that count with weights: resamples of the inputs without forming them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.ranking import checked_labels, rank
from tangentlens.errors import InvalidInputError, NumericalError

# scores (N, L), labels (N, L), weights (B, N) -> (B, L): label l judged by the score in column l
WeightedMeasure = Callable[[Tensor, Tensor, Tensor], Tensor]


def weighted_auroc(scores: Tensor, labels: Tensor, weights: Tensor) -> Float[Tensor, "B L"]:
    """AUROC of score l for label l where input i counts weights[b, i] times; ties count one half.

    Whole weights give the AUROC of the inputs repeated so often, as in a bootstrap sample.

    Args:
        scores: (N, L), any real dtype; one score for each label.
        labels: (N, L), Boolean or 0 and 1.
        weights: (B, N), not negative, positive for a positive and a negative of every label.

    Raises:
        InvalidInputError: shapes that do not fit, a negative weight, or a label that is the same for all inputs.
        NumericalError: NaN or infinity, or weights that leave a label without a positive or a negative.
    """
    positives, negatives = _in_order(scores, labels, weights)
    total = negatives.sum(dim=2, keepdim=True)
    above = (positives * (total - negatives.cumsum(dim=2) + negatives / 2)).sum(dim=2)
    return (above / (positives.sum(dim=2) * total[..., 0])).T


def weighted_average_precision(scores: Tensor, labels: Tensor, weights: Tensor) -> Float[Tensor, "B L"]:
    """Average precision of score l for label l where input i counts weights[b, i] times; as `weighted_auroc`."""
    positives, negatives = _in_order(scores, labels, weights)
    found = positives.cumsum(dim=2)
    taken = (found + negatives.cumsum(dim=2)).clamp_min(torch.finfo(torch.float64).tiny)
    return ((positives * found / taken).sum(dim=2) / positives.sum(dim=2)).T


def _in_order(scores: Tensor, labels: Tensor, weights: Tensor) -> tuple[Float[Tensor, "L B N"], Float[Tensor, "L B N"]]:
    """The weight of each label's positives and of its negatives in each tie group, highest score first."""
    ranking, binary = rank(scores), checked_labels(labels, len(scores))
    if scores.shape != labels.shape or weights.ndim != 2 or weights.shape[1] != len(scores) or len(weights) == 0:
        raise InvalidInputError(
            f"scores {tuple(scores.shape)}, labels {tuple(labels.shape)}, weights {tuple(weights.shape)} do not fit",
            where="weights",
            remedy="Give one score for each label and weights of shape (B, N).",
        )
    times = weights.detach().cpu().to(torch.float64)
    if not bool(times.isfinite().all()) or bool((times < 0).any()):
        raise InvalidInputError("weights are finite and not negative", where="weights")
    if bool((times @ binary == 0).any()) or bool((times @ (1 - binary) == 0).any()):
        raise NumericalError(
            "weights leave a label without a positive or a negative",
            where="weights",
            remedy="Resample inside strata that hold the label, or leave out labels this rare.",
        )
    shape = (labels.shape[1], *times.shape)
    at = ranking.groups[:, None].expand(shape)
    positives, everything = (
        torch.zeros(shape, dtype=torch.float64).scatter_add_(2, at, values.expand(shape))
        for values in (times * binary.T[:, None], times)
    )
    return positives, everything - positives
