"""What training added: how much more of the kernel goes along a feature than before, or than in untrained networks.

With M = sum_k lambda_k v_k v_k^T the leading modes' kernel, centred over the inputs, and F an orthonormal basis of a
feature, centred too, the amount along it is tr(F^T M F). Training lets kernels grow in all directions and spreads them
over more modes, so that an amount alone, or its share of the trace, says little; two comparisons do.

With the network's own initial state: the gain log(amount trained / amount initial) is ranked among the gains of random
functions that lie in the span of the initial modes to the same extent as the feature. Under the null hypothesis
the feature is such a function.

With U untrained networks drawn otherwise: log(amount / kernel inside the span of an untrained network's modes), mean
over these spans, of the trained network beside the untrained ones (each by the spans of the others), in a one-sided
Student's t test of one new value against U, with standard error s sqrt(1 + 1/U) and U - 1 degrees of freedom. One
untrained network that is not the own start has no spread of its own: the standard error is then that of the
difference of log shares over inputs, by a jackknife.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import stats
from torch import Generator, Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.alignment import Alignment
from tangentlens.analysis.features import Feature
from tangentlens.analysis.kernel_modes import GroupModes
from tangentlens.analysis.resampling import jackknife_spread
from tangentlens.analysis.scoring import choose, held_out, space_overlap
from tangentlens.analysis.subject import Split

_RANDOM, _AT_ONCE = 4999, 100  # functions that a gain is ranked among, in all and at a time


@dataclass(frozen=True)
class Difference:
    """How much more of a kernel goes along a feature than in untrained networks.

    Attributes:
        score: mean score of the untrained networks, each with its own best mode.
        share: percent of the trained modes' kernel along the feature.
        untrained: mean percent of the untrained kernels.
        gain: log of the amount trained over untrained, beyond what the comparison expects.
        low, high: 95 % interval of the gain.
        p: one-sided, that the gain is not above 0; not corrected.
    """

    score: float
    share: float
    untrained: float
    gain: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Untrained:
    """The modes of untrained networks, and whether they are one, the trained one's own start."""

    groups: Sequence[Mapping[str, GroupModes]]
    own: bool


def learned(
    alignments: Sequence[Alignment],
    features: Mapping[str, Feature],
    trained: Mapping[str, GroupModes],
    untrained: Untrained,
    halves: Split,
    generator: Generator,
) -> tuple[Difference | None, ...]:
    """The difference for each alignment; None where no untrained network has modes of that group."""
    found = []
    for each in alignments:
        others = [groups[each.group] for groups in untrained.groups if each.group in groups]
        feature = features[each.feature]
        found.append(
            _difference(feature, trained[each.group], others, untrained.own, halves, generator) if others else None
        )
    return tuple(found)


def share(modes: GroupModes, columns: Float[Tensor, "n r"], rows: Tensor) -> float:
    """Percent of the leading modes' kernel along some centred columns, over some rows; see the module."""
    V = _centred(modes.vectors[rows])
    F = centred_basis(columns[rows])
    return 100 * float(_amounts(modes, V, F).sum() / (modes.values * V.square().sum(dim=0)).sum())


def _difference(
    feature: Feature,
    trained: GroupModes,
    untrained: Sequence[GroupModes],
    own: bool,
    halves: Split,
    generator: Generator,
) -> Difference:
    rows = feature.present.nonzero().flatten()
    score = sum(_score(each, feature, halves) for each in untrained) / len(untrained)
    now, before = share(trained, feature.values, rows), [share(each, feature.values, rows) for each in untrained]
    if own:
        found = gain_beyond_random(trained, untrained[0], feature.values[rows], rows, generator)
    elif len(untrained) > 2:
        found = gain_beyond_drawn(trained, untrained, centred_basis(feature.values[rows]), rows)
    else:
        found = _gain_of_shares(trained, untrained, feature.values, rows, generator)
    return Difference(score, now, sum(before) / len(before), *found)


def gain_beyond_random(
    trained: GroupModes, initial: GroupModes, columns: Float[Tensor, "n r"], rows: Tensor, generator: Generator
) -> tuple[float, float, float, float]:
    """Gain over the initial state beyond the mean gain of matched random functions, its interval, its rank as p.

    The interval's standard error is a jackknife over inputs, the random functions held.
    """
    P = _span(initial, rows)
    F = centred_basis(columns)
    inside = float((P.T @ F).square().sum()) / F.shape[1]
    own = _gain(trained, initial, F, rows)
    drawn, held = [], torch.zeros(0)
    for start in range(0, _RANDOM, _AT_ONCE):
        G = _matched(P, inside, F.shape[1], min(_AT_ONCE, _RANDOM - start), generator)
        held = G if start == 0 else held
        drawn.append(_gains(trained, initial, G, rows))
    gains = torch.cat(drawn)
    p = (1 + int((gains >= own).sum())) / (1 + len(gains))
    places = {int(row): place for place, row in enumerate(rows.tolist())}

    def beyond(kept: Tensor) -> float:
        here = torch.tensor([places[row] for row in kept.tolist()])
        others = _gains(trained, initial, held[here], kept)
        return _gain(trained, initial, centred_basis(columns[here]), kept) - float(others.mean())

    spread = jackknife_spread(beyond, rows, generator)
    gain = own - float(gains.mean())
    return gain, gain - 1.96 * spread, gain + 1.96 * spread, p


def _matched(
    P: Float[Tensor, "n k"], inside: float, r: int, count: int, generator: Generator
) -> Float[Tensor, "n count r"]:
    """Unit functions with mean zero, a share `inside` of their square in the span of P."""
    a = torch.randn(P.shape[1], count * r, generator=generator, dtype=P.dtype)
    z = _centred(torch.randn(len(P), count * r, generator=generator, dtype=P.dtype))
    z = z - P @ (P.T @ z)
    a, z = (torch.nn.functional.normalize(each, dim=0) for each in (a, z))
    mixed: Tensor = math.sqrt(inside) * (P @ a) + math.sqrt(max(0.0, 1 - inside)) * z
    return mixed.reshape(len(P), count, r)


def _gains(
    trained: GroupModes, initial: GroupModes, G: Float[Tensor, "n count r"], rows: Tensor
) -> Float[Tensor, " count"]:
    amounts = [_amounts(each, _centred(each.vectors[rows]), G.flatten(1)) for each in (trained, initial)]
    after, before = (each.unflatten(0, (G.shape[1], G.shape[2])).sum(dim=1) for each in amounts)
    found: Tensor = torch.log(after / before)
    return found


def _gain(trained: GroupModes, initial: GroupModes, F: Float[Tensor, "n r"], rows: Tensor) -> float:
    return float(_gains(trained, initial, F[:, None], rows))


def gain_beyond_drawn(
    trained: GroupModes, untrained: Sequence[GroupModes], F: Float[Tensor, "n r"], rows: Tensor
) -> tuple[float, float, float, float]:
    """Mean log ratio over that of the untrained networks, its interval and p by Student's t; see the module."""
    spans = [_span(each, rows) for each in untrained]

    def ratio(modes: GroupModes, among: Sequence[Tensor]) -> float:
        V = _centred(modes.vectors[rows])
        along = math.log(float(_amounts(modes, V, F).sum()))
        return along - sum(math.log(float(_amounts(modes, V, P).sum())) for P in among) / len(among)

    U = len(untrained)
    others = [ratio(each, [P for place, P in enumerate(spans) if place != u]) for u, each in enumerate(untrained)]
    mean = sum(others) / U
    error = math.sqrt(sum((each - mean) ** 2 for each in others) / (U - 1) * (1 + 1 / U))
    gain = ratio(trained, spans) - mean
    return _student(gain, error, float(U - 1))


def _gain_of_shares(
    trained: GroupModes,
    untrained: Sequence[GroupModes],
    columns: Float[Tensor, "N r"],
    rows: Tensor,
    generator: Generator,
) -> tuple[float, float, float, float]:
    def gain(kept: Tensor) -> float:
        logs = [math.log(share(each, columns, kept)) for each in (trained, *untrained)]
        return logs[0] - sum(logs[1:]) / len(untrained)

    return _student(gain(rows), jackknife_spread(gain, rows, generator), math.inf)


def _student(gain: float, error: float, freedom: float) -> tuple[float, float, float, float]:
    if error <= 0:
        return gain, gain, gain, 1.0
    student = stats.t(freedom) if math.isfinite(freedom) else stats.norm()
    reach = float(student.ppf(0.975)) * error
    return gain, gain - reach, gain + reach, float(student.sf(gain / error))


def _amounts(modes: GroupModes, V: Float[Tensor, "n k"], G: Float[Tensor, "n m"]) -> Float[Tensor, " m"]:
    """g^T M g of every column, V the centred modes."""
    found: Tensor = (modes.values[:, None] * (V.T @ G).square()).sum(dim=0)
    return found


def _span(modes: GroupModes, rows: Tensor) -> Float[Tensor, "n k"]:
    U, sizes, _ = torch.linalg.svd(_centred(modes.vectors[rows]), full_matrices=False)
    kept: Tensor = U[:, sizes > 1e-8 * sizes[0]]
    return kept


def _centred(columns: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    return columns - columns.mean(dim=0)


def _score(modes: GroupModes, feature: Feature, halves: Split) -> float:
    if feature.kind == "space":
        return space_overlap(modes.vectors, feature)
    return held_out(modes.vectors, feature, choose(modes.vectors, feature, halves), halves)
