"""What training added: how much better the trained kernel predicts a feature than the kernel of untrained networks.

A kernel predicts a feature by kernel ridge regression. With the leading modes' kernel M = sum_k lambda_k v_k v_k^T,
each tenth of the inputs is predicted from the others, with an intercept; the ridge is the one of least leave-one-out
error on the inputs that are fitted. R^2 = 1 - mean squared error / variance then says how well the kernel
generalises the feature: what a network in the kernel regime, or a last step of training, would make of it. Scale and
number of modes do not enter. R^2 is compared

- with the network's own initial state: a paired t test of the squared errors over inputs;
- with U > 2 untrained networks drawn otherwise: Student's t of one new value against U, with standard error
  s sqrt(1 + 1/U) and U - 1 degrees of freedom, s the spread of their R^2;
- with one or two untrained networks that are not the own start: the paired test against their mean error. It does not
  know how initial states differ.

The share of the leading modes' kernel along a feature, tr(F^T M F) / tr(M) with F an orthonormal basis of the feature,
both centred, is reported beside it. It says where a feature lives; it falls where training spreads a kernel over more
modes, so that it decides nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Generator, Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.analysis.questions.alignment import Alignment
from tangentlens.analysis.questions.scoring import choose, held_out, space_overlap
from tangentlens.analysis.subject import Split

_FOLDS = 10
_RIDGES = torch.logspace(-4, 4, 17, dtype=torch.float64)  # in units of the kernel's mean centred diagonal


@dataclass(frozen=True)
class Difference:
    """How much better a kernel predicts a feature than those of untrained networks.

    Attributes:
        score: mean score of the untrained networks, each with its own best mode.
        share: percent of the trained modes' kernel along the feature.
        share_untrained: mean percent of the untrained kernels.
        predicted: R^2 of the trained kernel's predictions.
        predicted_untrained: mean R^2 of the untrained kernels' predictions.
        low, high: 95 % interval of the difference of the two.
        p: one-sided, that the difference is not above 0; not corrected.
    """

    score: float
    share: float
    share_untrained: float
    predicted: float
    predicted_untrained: float
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
    """The difference for each alignment; None where no untrained network has modes of that group.

    Args:
        alignments: of features with groups.
        features: by name.
        trained: modes of the trained network.
        untrained: modes of each untrained one.
        halves: to choose a mode for the score on, and to score on.
        generator: of the folds.
    """
    found = []
    for each in alignments:
        others = [groups[each.group] for groups in untrained if each.group in groups]
        feature = features[each.feature]
        found.append(_difference(feature, trained[each.group], others, halves, generator) if others else None)
    return tuple(found)


def share(modes: GroupModes, columns: Float[Tensor, "N r"], rows: Tensor) -> float:
    """Percent of the leading modes' kernel along some centred columns, over some rows; see the module."""
    V = modes.vectors[rows] - modes.vectors[rows].mean(dim=0)
    F = centred_basis(columns[rows])
    along = (modes.values[:, None] * (V.T @ F).square()).sum()
    return 100 * float(along / (modes.values * V.square().sum(dim=0)).sum())


def prediction_errors(modes: GroupModes, feature: Feature, folds: Sequence[Int[Tensor, " _"]]) -> Float[Tensor, " n"]:
    """Squared error of each input's prediction from other folds, in units of the feature's variance; see the module.

    Args:
        modes: of the kernel that predicts.
        feature: its columns count together.
        folds: of the inputs that have the feature; each is predicted from the others.

    Returns:
        One for each input, in the order of the folds. Their mean is 1 - R^2.
    """
    X, Y = modes.vectors * modes.values.clamp_min(0).sqrt(), feature.values
    errors = []
    for place, rows in enumerate(folds):
        fit = torch.cat([*folds[:place], *folds[place + 1 :]])
        errors.append((Y[rows] - _predicted(X[fit], Y[fit], X[rows])).square().sum(dim=1))
    present = Y[torch.cat(list(folds))]
    variance = (present - present.mean(dim=0)).square().sum(dim=1).mean()
    return torch.cat(errors) / variance.clamp_min(1e-30)


def _folds(feature: Feature, generator: Generator) -> list[Int[Tensor, " _"]]:
    rows = feature.present.nonzero().flatten()
    return list(rows[torch.randperm(len(rows), generator=generator)].tensor_split(min(_FOLDS, len(rows))))


def _predicted(X: Float[Tensor, "n k"], Y: Float[Tensor, "n r"], new: Float[Tensor, "m k"]) -> Float[Tensor, "m r"]:
    """Ridge regression with an intercept, its ridge by the leave-one-out error on the rows that are fitted."""
    mean, centre = X.mean(dim=0), Y.mean(dim=0)
    U, s, Vh = torch.linalg.svd(X - mean, full_matrices=False)
    inside = U.T @ (Y - centre)
    ridges = _RIDGES * (s.square().sum() / len(X)).clamp_min(1e-30)
    kept = s.square() / (s.square() + ridges[:, None])  # (R, k)
    fitted = torch.einsum("nk,gk,kr->gnr", U, kept, inside)
    leverage = 1 / len(X) + torch.einsum("nk,gk->gn", U.square(), kept)
    missed = (Y - centre - fitted) / (1 - leverage).clamp_min(1e-12)[..., None]
    best = int(missed.square().sum(dim=(1, 2)).argmin())
    weights = Vh.T @ ((s / (s.square() + ridges[best]))[:, None] * inside)
    predicted: Tensor = centre + (new - mean) @ weights
    return predicted


def _difference(
    feature: Feature, trained: GroupModes, untrained: Sequence[GroupModes], halves: Split, generator: Generator
) -> Difference:
    rows, folds = feature.present.nonzero().flatten(), _folds(feature, generator)
    now, *before = (prediction_errors(each, feature, folds) for each in (trained, *untrained))
    drawn = torch.stack(before).mean(dim=1)
    low, high, p = (
        beyond_drawn(float(now.mean()), drawn) if len(before) > 2 else beyond(now, torch.stack(before).mean(dim=0))
    )
    return Difference(
        sum(_score(each, feature, halves) for each in untrained) / len(untrained),
        share(trained, feature.values, rows),
        sum(share(each, feature.values, rows) for each in untrained) / len(untrained),
        1 - float(now.mean()), 1 - float(drawn.mean()), low, high, p,
    )  # fmt: skip


def beyond(errors: Float[Tensor, " n"], others: Float[Tensor, " n"]) -> tuple[float, float, float]:
    """95 % interval of how much smaller the first errors are on average, and the one-sided p of a paired t test."""
    less = others - errors
    return _student(float(less.mean()), float(less.std()) / math.sqrt(len(less)), len(less) - 1)


def beyond_drawn(error: float, others: Float[Tensor, " U"]) -> tuple[float, float, float]:
    """95 % interval of how much smaller one error is than the mean of U others drawn alike, and its one-sided p."""
    U = len(others)
    return _student(float(others.mean()) - error, float(others.std()) * math.sqrt(1 + 1 / U), U - 1)


def _student(mean: float, error: float, freedom: int) -> tuple[float, float, float]:
    if not error > 0:
        return mean, mean, 1.0
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return mean - reach, mean + reach, float(stats.t.sf(mean / error, freedom))


def _score(modes: GroupModes, feature: Feature, halves: Split) -> float:
    if feature.kind == "space":
        return space_overlap(modes.vectors, feature)
    return held_out(modes.vectors, feature, choose(modes.vectors, feature, halves), halves)
