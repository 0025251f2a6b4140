"""When performance rises and when a feature's share of the kernel grows fastest, with intervals over inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.checkpoints.dynamics import central_differences, crossing, peak

_FEWEST = 5  # checkpoints: growth needs a maximum with a neighbour on either side


@dataclass(frozen=True)
class FeatureTransition:
    """The transition of one feature.

    Attributes:
        onset: when the performance has gone half of its way up; NaN where it does not rise.
        peak: when the share grows fastest; NaN without an inner maximum.
        lag: onset - peak, positive where the kernel changes first.
        low, high: 95 % interval of the lag over resampled inputs.
        found: percent of the resamples that have both times.
        reason: why a time is missing, "" where none is.
    """

    onset: float
    peak: float
    lag: float
    low: float
    high: float
    found: float
    reason: str


def feature_transition(
    steps: Float[Tensor, " E"],
    performance: Float[Tensor, " E"] | None,
    share: Float[Tensor, " E"],
    resampled: Sequence[tuple[Tensor | None, Tensor]],
) -> FeatureTransition:
    """The two times of one feature.

    Args:
        steps: of the checkpoints.
        performance: accuracy or R^2 at each; None where there is none.
        share: of the kernel along the feature.
        resampled: pairs of both curves over resampled inputs.
    """
    nan = math.nan
    if len(steps) < _FEWEST:
        reason = f"{len(steps)} checkpoints; the growth of a curve needs {_FEWEST}"
        return FeatureTransition(nan, nan, nan, nan, nan, 0.0, reason)
    onset, top = onset_of(steps, performance), growth_peak(steps, share)
    lags = [onset_of(steps, curve) - growth_peak(steps, other) for curve, other in resampled]
    known = torch.tensor([lag for lag in lags if math.isfinite(lag)], dtype=torch.float64)
    low, high = (nan, nan)
    if math.isfinite(onset - top) and len(known) > 1:
        low, high = known.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    percent = 100 * len(known) / len(lags) if lags else 0.0
    return FeatureTransition(onset, top, onset - top, low, high, percent, _reason(steps, performance, onset, top))


def onset_of(steps: Float[Tensor, " E"], performance: Float[Tensor, " E"] | None) -> float:
    """When a curve first reaches the middle between its first and its largest value; NaN where it does not rise."""
    if performance is None or not bool(performance.isfinite().all()):
        return math.nan
    low, high = float(performance[0]), float(performance.max())
    return crossing(steps, performance, (low + high) / 2) if high > low else math.nan


def growth_peak(steps: Float[Tensor, " E"], share: Float[Tensor, " E"]) -> float:
    """Where a curve grows fastest between the second and the last but one checkpoint; NaN without an inner maximum."""
    if not bool(share.isfinite().all()):
        return math.nan
    growth = central_differences(steps, share)
    if float(growth[1:-1].max()) <= 0:
        return math.nan
    return peak(steps[1:-1], growth[1:-1])


def _reason(steps: Tensor, performance: Tensor | None, onset: float, top: float) -> str:
    reasons = []
    if performance is None:
        reasons.append("no accuracy is known: it needs targets= or a test_accuracy for every checkpoint")
    elif not math.isfinite(onset):
        reasons.append("the performance never rises above its first value")
    if not math.isfinite(top):
        first, last = float(steps[1]), float(steps[-2])
        reasons.append(f"the share has no largest growth between steps {first:g} and {last:g}")
    return "; ".join(reasons)
