"""Dynamics as evidence: how near the kernel's change comes to the onset of generalisation, and whether it warns of it.

All from curves over checkpoints. A curve's time of a share s is when it has first gone the share s of its way from its
first to its last value; so kernel, accuracy and loss are timed alike. It is known only afterwards: a lead in this
sense says what changes first, not that it could have been known in time.
"""

import math

import torch
from torch import Tensor

from tangentlens.analysis.checkpoints.dynamics import central_differences, crossing, peak, transition
from tangentlens.analysis.evidence.trained_network import Curves, TrainedNetwork
from tangentlens.analysis.findings import Figures, Findings, keyed
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.store.figure_keys import LAG_DISTANCE, NULL_LAG_DISTANCE, Ahead, Key

EARLY, HALF = 0.1, 0.5


def lead(network: TrainedNetwork, _options: EvidenceConfig) -> Findings:
    """How near the kernel's change comes to the onset of generalisation, and whether it comes before."""
    return Findings({} if network.curves is None else lead_figures(network.curves))


def lead_figures(curves: Curves) -> Figures:
    """Figures on times, in epochs; NaN where a curve has no such time.

    Returns:
        `dynamics.onset_peak_distance`: |onset - peak of the overlap's growth|.
        `null.random_features.onset_peak_distance`: its mean over the random feature spaces that have a peak.
        `dynamics.lead.half`, `.early`: time of accuracy less time of overlap, at half and a tenth of the way.
        `dynamics.lead_over_loss.half`, `.early`: time of the test loss less time of the overlap.
    """
    epochs = curves.epochs
    times = transition(epochs, curves.accuracy, curves.overlap, threshold=curves.threshold)
    distances = [abs(times.onset - _peak(epochs, curve)) for curve in curves.null_overlaps.T]
    known = [distance for distance in distances if not math.isnan(distance)]
    figures: dict[Key, float] = {
        LAG_DISTANCE: abs(times.onset_minus_peak),
        NULL_LAG_DISTANCE: sum(known) / len(known) if known else math.nan,
    }
    for name, share in (("half", HALF), ("early", EARLY)):
        own = time_of_share(epochs, curves.overlap, share)
        figures[Ahead("lead", name)] = time_of_share(epochs, curves.accuracy, share) - own
        figures[Ahead("lead_over_loss", name)] = time_of_share(epochs, curves.loss, share) - own
    return keyed(figures)


def time_of_share(epochs: Tensor, curve: Tensor, share: float) -> float:
    """When a curve has first gone that share of its way from its first to its last value; NaN where it goes nowhere."""
    curve = curve.to(torch.float64)
    way = curve[-1] - curve[0]
    return math.nan if float(way) == 0 else crossing(epochs, (curve - curve[0]) / way, share)


def _peak(epochs: Tensor, curve: Tensor) -> float:
    growth = central_differences(epochs, curve)
    return peak(epochs[1:-1], growth[1:-1])
