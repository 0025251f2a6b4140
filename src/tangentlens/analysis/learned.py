"""What training added: how much of the kernel goes along each feature, beside untrained networks.

The share of a feature with centred orthonormal basis F in modes v_k with eigenvalues lambda_k is

    100 tr(F^T M F) / tr(M),   M = sum_k lambda_k v_k v_k^T centred over the inputs,

the kernel alignment of Cristianini et al. (2001) on the leading modes, in percent. Unlike the score of the best mode it
does not depend on how modes with near eigenvalues mix. Two things make the difference of a trained and an untrained
share uncertain: the inputs (a jackknife over blocks of them) and the draw of the untrained network (the spread over
several; none where the network's own initial state is at hand). With s_b and s_u their standard deviations, u of U
untrained networks, the standard error is sqrt(s_b^2 + s_u^2 (1 + 1/U)), its degrees of freedom are Satterthwaite's, and
p is Student's, one-sided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from scipy import stats
from torch import Generator, Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.alignment import Alignment, jackknife_spread
from tangentlens.analysis.features import Feature
from tangentlens.analysis.kernel_modes import GroupModes
from tangentlens.analysis.scoring import choose, held_out, space_overlap
from tangentlens.analysis.subject import Split


@dataclass(frozen=True)
class Difference:
    """A trained share less the mean of untrained ones.

    Attributes:
        score: mean score of the untrained networks, each with its own best mode.
        share: percent of the trained kernel along the feature.
        untrained: mean percent of the untrained kernels.
        low, high: 95 % interval of share - untrained.
        p: one-sided, that the difference is not above 0; not corrected.
    """

    score: float
    share: float
    untrained: float
    low: float
    high: float
    p: float


def learned(
    alignments: Sequence[Alignment],
    features: Mapping[str, Feature],
    trained: Mapping[str, GroupModes],
    untrained: Sequence[Mapping[str, GroupModes]],
    halves: Split,
    generator: Generator,
) -> tuple[Difference | None, ...]:
    """The difference for each alignment; None where no untrained network has modes of that group."""
    found = []
    for each in alignments:
        others = [groups[each.group] for groups in untrained if each.group in groups]
        feature = features[each.feature]
        found.append(_difference(feature, trained[each.group], others, halves, generator) if others else None)
    return tuple(found)


def share(modes: GroupModes, columns: Float[Tensor, "n r"], rows: Tensor) -> float:
    """Percent of the leading modes' kernel along some centred columns, over some rows; see the module."""
    V = modes.vectors[rows]
    V = V - V.mean(dim=0)
    F = centred_basis(columns[rows])
    along = (modes.values * (F.T @ V).square().sum(dim=0)).sum()
    return 100 * float(along / (modes.values * V.square().sum(dim=0)).sum())


def _difference(
    feature: Feature, trained: GroupModes, untrained: Sequence[GroupModes], halves: Split, generator: Generator
) -> Difference:
    rows = feature.present.nonzero().flatten()
    score = sum(_score(each, feature, halves) for each in untrained) / len(untrained)

    def excess(kept: Tensor) -> float:
        others = [share(each, feature.values, kept) for each in untrained]
        return share(trained, feature.values, kept) - sum(others) / len(others)

    others = [share(each, feature.values, rows) for each in untrained]
    spread = jackknife_spread(excess, rows, generator)
    return difference(score, share(trained, feature.values, rows), others, spread)


def _score(modes: GroupModes, feature: Feature, halves: Split) -> float:
    if feature.kind == "space":
        return space_overlap(modes.vectors, feature)
    return held_out(modes.vectors, feature, choose(modes.vectors, feature, halves), halves)


def difference(score: float, trained: float, untrained: Sequence[float], spread: float) -> Difference:
    """The difference of a share and some untrained ones, with interval and p.

    Args:
        score: mean untrained score, for the reader.
        trained: the share.
        untrained: those of one untrained network or more.
        spread: standard error of the difference over inputs.
    """
    U = len(untrained)
    mean = sum(untrained) / U
    between = sum((each - mean) ** 2 for each in untrained) / (U - 1) * (1 + 1 / U) if U > 1 else 0.0
    variance, value = spread**2 + between, trained - mean
    if variance <= 0:
        return Difference(score, trained, mean, value, value, 1.0)
    freedom = variance**2 / (between**2 / (U - 1)) if between > 0 else math.inf
    error = math.sqrt(variance)
    student = stats.t(freedom) if math.isfinite(freedom) else stats.norm()
    reach = float(student.ppf(0.975)) * error
    return Difference(score, trained, mean, value - reach, value + reach, float(student.sf(value / error)))
