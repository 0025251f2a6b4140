"""Scores of modes on features: the mode and sign chosen on one half of the inputs, the score taken on the other.

A binary feature is scored by AUROC, a real one by R^2, the share of its variance on the scoring half that the line
fitted on the choosing half predicts. A space is not chosen: it is compared with all modes of a group by their overlap.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, orthonormal_basis
from tangentlens.alignment.ranking import Ranking, auroc_of_signs, rank, weighted_auroc
from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.subject import Split

METRICS = {"binary": "auroc", "real": "r2", "space": "overlap"}


@dataclass(frozen=True)
class Choice:
    """What the choosing half says of one feature and one group.

    Attributes:
        mode: the mode with the highest score there.
        sign: +1 or -1, the direction in which the mode goes with the feature.
        line: intercept and slope of the feature on the mode; (0, 0) for a binary feature.
    """

    mode: int
    sign: int
    line: tuple[float, float] = (0.0, 0.0)


def rows_of(feature: Feature, rows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Those of some rows that have a value of the feature."""
    kept: Tensor = rows[feature.present[rows]]
    return kept


def choose(vectors: Float[Tensor, "N k"], feature: Feature, halves: Split) -> Choice:
    """The mode and sign with the highest score on the choosing half; a binary or real feature."""
    rows = rows_of(feature, halves.train)
    scores, target = vectors[rows], feature.values[rows, 0]
    if feature.kind == "binary":
        excess = auroc_excess(rank(scores), target[:, None])[:, 0]
        mode = int(excess.abs().argmax())
        return Choice(mode, 1 if float(excess[mode]) >= 0 else -1)
    correlations = correlation(scores, target[:, None])[:, 0]
    mode = int(correlations.abs().argmax())
    column = scores[:, mode]
    centred = column - column.mean()
    slope = float((centred @ target) / centred.square().sum().clamp_min(1e-300))
    return Choice(
        mode, 1 if float(correlations[mode]) >= 0 else -1, (float(target.mean() - slope * column.mean()), slope)
    )


def auroc_excess(ranking: Ranking, labels: Float[Tensor, "n P"]) -> Float[Tensor, "k P"]:
    """AUROC less one half of every ranked score for every label."""
    return auroc_of_signs(ranking, labels)[0] - 0.5


def correlation(scores: Float[Tensor, "n k"], targets: Float[Tensor, "n P"]) -> Float[Tensor, "k P"]:
    """Pearson's correlation of every score with every target; 0 where either is constant."""
    found: Tensor = _standardised(scores).T @ _standardised(targets)
    return found


def _standardised(columns: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    centred: Tensor = columns.to(torch.float64) - columns.to(torch.float64).mean(dim=0)
    lengths: Tensor = torch.linalg.vector_norm(centred, dim=0)
    varies: Tensor = lengths > 1e-12 * torch.linalg.vector_norm(columns, dim=0)
    return centred / lengths.clamp_min(1e-300) * varies


def held_out(vectors: Float[Tensor, "N k"], feature: Feature, choice: Choice, halves: Split) -> float:
    """The score of the chosen mode on the scoring half: AUROC, or R^2."""
    return float(resampled(vectors, feature, choice, halves, torch.ones(1, len(rows_of(feature, halves.test))))[0])


def resampled(
    vectors: Float[Tensor, "N k"],
    feature: Feature,
    choice: Choice,
    halves: Split,
    weights: Float[Tensor, "B n"],
) -> Float[Tensor, " B"]:
    """That score where row i of the scoring half counts weights[b, i] times.

    A resample without a positive, without a negative, or in which the feature does not vary gives NaN.
    """
    rows = rows_of(feature, halves.test)
    column, target = vectors[rows, choice.mode], feature.values[rows, 0]
    weights = weights.to(torch.float64)
    if feature.kind == "binary":
        positives = weights @ target
        usable = (positives > 0) & (positives < weights.sum(dim=1))
        found = torch.full((len(weights),), float("nan"), dtype=torch.float64)
        if bool(usable.any()):
            scores = (choice.sign * column)[:, None]
            found[usable] = weighted_auroc(scores, target[:, None], weights[usable])[:, 0]
        return found
    intercept, slope = choice.line
    missed = weights @ (target - intercept - slope * column).square()
    total = weights.sum(dim=1)
    variation = weights @ target.square() - (weights @ target).square() / total
    explained: Tensor = torch.where(variation > 0, 1 - missed / variation, float("nan"))
    return explained


def space_overlap(vectors: Float[Tensor, "N k"], feature: Feature) -> float:
    """Percent of the feature's centred space inside the span of the modes, over the rows that have a value."""
    return overlap_percent(vectors[feature.present], feature.values[feature.present])


def overlap_percent(vectors: Float[Tensor, "n k"], columns: Float[Tensor, "n r"]) -> float:
    """100 ||Q^T F||^2 / r of orthonormal bases; NaN where the columns do not vary."""
    F, Q = centred_basis(columns), orthonormal_basis(vectors)
    return 100 * float((Q.T @ F).square().sum()) / F.shape[1] if F.shape[1] else float("nan")
