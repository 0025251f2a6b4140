"""Dynamics as evidence: how near the kernel's change comes to the onset of generalisation, and whether it warns of it.

All from curves over checkpoints. A curve's time of a share s is when it has first gone the share s of its way from its
first to its last value; so kernel, accuracy and loss are timed alike. It is known only afterwards: a lead in this
sense says what changes first, not that one could have told in time.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.dynamics import central_differences, crossing, peak, transition
from tangentlens.settings.figures import Figures

EARLY, HALF = 0.1, 0.5


def lead_figures(
    epochs: Float[Tensor, " E"] | Tensor,
    accuracy: Float[Tensor, " E"],
    loss: Float[Tensor, " E"],
    overlap: Float[Tensor, " E"],
    null_overlaps: Float[Tensor, "E R"],
    *,
    threshold: float,
) -> Figures:
    """Figures on times, in epochs; NaN where a curve has no such time.

    Args:
        epochs: (E,) of the checkpoints.
        accuracy, loss: (E,) on the test rows.
        overlap: (E,) of the modes with the features.
        null_overlaps: (E, R) of the same modes with random feature spaces of the same dimension.
        threshold: test accuracy whose crossing is the onset.

    Returns:
        `dynamics.onset_peak_distance`: |onset - peak of the overlap's growth|.
        `null.random_features.onset_peak_distance`: its mean over the random feature spaces that have a peak.
        `dynamics.lead.half`, `.early`: time of accuracy less time of overlap, at half and a tenth of the way.
        `dynamics.lead_over_loss.half`, `.early`: time of the test loss less time of the overlap.
    """
    times = transition(epochs, accuracy, overlap, threshold=threshold)
    distances = [abs(times.onset - _peak(epochs, curve)) for curve in null_overlaps.T]
    known = [distance for distance in distances if not math.isnan(distance)]
    figures: Figures = {
        "dynamics.onset_peak_distance": (abs(times.onset_minus_peak), "epoch"),
        "null.random_features.onset_peak_distance": (sum(known) / len(known) if known else math.nan, "epoch"),
    }
    for name, share in (("half", HALF), ("early", EARLY)):
        own = time_of_share(epochs, overlap, share)
        figures[f"dynamics.lead.{name}"] = (time_of_share(epochs, accuracy, share) - own, "epoch")
        figures[f"dynamics.lead_over_loss.{name}"] = (time_of_share(epochs, loss, share) - own, "epoch")
    return figures


def time_of_share(epochs: Tensor, curve: Tensor, share: float) -> float:
    """When a curve has first gone that share of its way from its first to its last value; NaN where it goes nowhere."""
    curve = curve.to(torch.float64)
    way = curve[-1] - curve[0]
    return math.nan if float(way) == 0 else crossing(epochs, (curve - curve[0]) / way, share)


def _peak(epochs: Tensor, curve: Tensor) -> float:
    growth = central_differences(epochs, curve)
    return peak(epochs[1:-1], growth[1:-1])
