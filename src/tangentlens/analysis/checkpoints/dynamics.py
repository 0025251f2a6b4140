"""Curves over training: when a network starts to generalise, and when an overlap grows fastest."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError


@dataclass(frozen=True)
class Transition:
    """Two times of one training run, in epochs.

    Attributes:
        onset: when test accuracy crosses the threshold; NaN where it never does.
        peak: when the overlap grows fastest; NaN where its growth has no peak inside the curve.
    """

    onset: float
    peak: float

    @property
    def onset_minus_peak(self) -> float:
        """Positive where the overlap grows fastest before the onset; NaN where either is missing."""
        return self.onset - self.peak


def transition(epochs: Tensor, test_accuracy: Tensor, overlap: Tensor, *, threshold: float = 0.5) -> Transition:
    """Onset of generalisation and peak of the overlap's growth; the two are found independently of each other."""
    growth = central_differences(epochs, overlap)
    return Transition(onset=crossing(epochs, test_accuracy, threshold), peak=peak(epochs[1:-1], growth[1:-1]))


def crossing(epochs: Tensor, values: Tensor, threshold: float) -> float:
    """First time that a curve reaches the threshold from below, interpolated linearly between measurements.

    Args:
        epochs: (E,) ascending.
        values: (E,).
        threshold: level to cross.

    Returns:
        The epoch; the first one if the curve starts at the threshold or above, NaN if it never gets there.

    Raises:
        InvalidInputError: the curve is not two vectors of one length with ascending epochs.
        NumericalError: the values hold NaN or infinity.
    """
    x, y = _curve(epochs, values, minimum=1)
    reached = (y >= threshold).nonzero()[:, 0]
    if len(reached) == 0:
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(x[0])
    share = (threshold - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))


def central_differences(epochs: Tensor, values: Tensor) -> Float[Tensor, " E"]:
    """(E,) float64: derivative of a curve per epoch; one-sided at both ends.

    Inside, (y_(i+1) - y_(i-1)) / (x_(i+1) - x_(i-1)) where the steps are equal, else its second-order form.

    Raises:
        InvalidInputError: the curve has fewer than two points, or is malformed as in `crossing`.
        NumericalError: the values hold NaN or infinity.
    """
    x, y = _curve(epochs, values, minimum=2)
    (derivative,) = torch.gradient(y, spacing=(x,))
    return derivative


def peak(epochs: Tensor, values: Tensor) -> float:
    """Time of the largest value, at the vertex of the parabola through it and its two neighbours.

    The parabola takes out where the measuring grid happens to lie: for the growth of the sum overlap on modular
    addition, measured every 10 epochs on five grids 2 epochs apart, the grid's own maximum moved by 8 to 10 epochs and
    the vertex by 1 to 2 (four seeds). It needs a maximum with a neighbour on either side: where the largest value is
    the first or the last one, or there is none, the curve shows no peak and the result is NaN.

    Raises:
        InvalidInputError: the curve is malformed as in `crossing`.
        NumericalError: the values hold NaN or infinity.
    """
    x, y = _curve(epochs, values, minimum=0)
    i = int(y.argmax()) if len(y) else 0
    if i in (0, len(y) - 1):
        return float("nan")
    around, heights = x[i - 1 : i + 2], y[i - 1 : i + 2]
    slopes = heights.diff() / around.diff()  # those of the parabola at the two middles; in between it falls linearly
    middles = (around[1:] + around[:-1]) / 2
    bend = slopes[0] - slopes[1]
    return float(middles[0] + slopes[0] / bend * (middles[1] - middles[0])) if bend > 0 else float(x[i])


def _curve(epochs: Tensor, values: Tensor, minimum: int) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
    x, y = epochs.to(torch.float64), values.to(torch.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < minimum or bool((x.diff() <= 0).any()):
        raise InvalidInputError(
            f"epochs of shape {tuple(x.shape)} and values of shape {tuple(y.shape)} are no curve",
            where="epochs, values",
            remedy=f"Give two vectors of one length, at least {minimum}, with strictly ascending epochs.",
        )
    if not bool(x.isfinite().all() & y.isfinite().all()):
        raise NumericalError("the curve holds NaN or infinity", where="epochs, values")
    return x, y
