"""Sparse probes (Gurnee et al. 2023): k columns chosen on one half, a probe fitted to them there, scored on the other.

The columns are the k that correlate most with the feature. The probe is a logistic regression of a binary feature and a
ridge regression of a real one, on columns of unit variance, with penalty |b|^2 / 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.comparisons.paired_scores import Scored, area, explained
from tangentlens.analysis.questions.scoring import METRICS, Choice, correlation, rows_of
from tangentlens.analysis.subject import Split

SIZES = (1, 2, 5, 16)
_STEPS, _HALVINGS, _TOLERANCE = 50, 8, 1e-10


@dataclass(frozen=True)
class SparseProbe:
    """One probe.

    Attributes:
        feature: its name.
        k: columns that it reads.
        metric: "auroc" or "r2".
        scored: on the scoring half.
    """

    feature: str
    k: int
    metric: str
    scored: Scored


def sparse_probes(
    columns: Float[Tensor, "N d"], features: Sequence[Feature], halves: Split, sizes: Sequence[int] = SIZES
) -> tuple[SparseProbe, ...]:
    """Probes of every binary and real feature from k of the columns, for each k up to the number of columns."""
    X = _standardised(columns, halves.train)
    found = []
    for kind in ("binary", "real"):
        group = [each for each in features if each.kind == kind]
        if not group:
            continue
        order = torch.stack([_by_correlation(X, each, halves) for each in group])  # (P, d)
        for k in sizes:
            if k > X.shape[1]:
                continue
            scores = _predicted(X, order[:, :k], group, halves, kind)
            for feature, score in zip(group, scores, strict=True):
                found.append(SparseProbe(feature.name, k, METRICS[kind], _scored(score, feature, halves)))
    return tuple(found)


def _standardised(columns: Float[Tensor, "N d"], train: Tensor) -> Float[Tensor, "N d"]:
    """Mean 0 and variance 1 on the choosing half; columns that do not vary there are 0."""
    X = columns.detach().cpu().to(torch.float64)
    mean, spread = X[train].mean(dim=0), X[train].std(dim=0, correction=0)
    varies = spread > 1e-12 * X.abs().amax(dim=0).clamp_min(1e-300)
    standard: Tensor = (X - mean) / torch.where(varies, spread, 1.0) * varies
    return standard


def _by_correlation(X: Float[Tensor, "N d"], feature: Feature, halves: Split) -> Tensor:
    rows = rows_of(feature, halves.train)
    order: Tensor = correlation(X[rows], feature.values[rows])[:, 0].abs().argsort(descending=True, stable=True)
    return order


def _predicted(
    X: Float[Tensor, "N d"], places: Tensor, features: Sequence[Feature], halves: Split, kind: str
) -> Float[Tensor, "P N"]:
    """The probes' outputs for all inputs."""
    N = len(X)
    Z = torch.cat([torch.ones(len(places), N, 1, dtype=X.dtype), X[:, places].transpose(0, 1)], dim=2)  # (P, N, 1 + k)
    y = torch.stack([each.values[:, 0] for each in features])
    counts = torch.stack([each.present for each in features])[:, halves.train].to(torch.float64)
    fit = logistic if kind == "binary" else ridge
    weights = fit(Z[:, halves.train], y[:, halves.train], counts)
    return torch.einsum("pnk,pk->pn", Z, weights)


def _scored(scores: Float[Tensor, " N"], feature: Feature, halves: Split) -> Scored:
    rows = rows_of(feature, halves.test)
    target = feature.values[rows, 0]
    if feature.kind == "binary":
        return area(scores[rows], target)
    return explained(scores[rows], target, Choice(0, 1, (0.0, 1.0)))


def ridge(Z: Float[Tensor, "P n k"], y: Float[Tensor, "P n"], counts: Float[Tensor, "P n"]) -> Float[Tensor, "P k"]:
    """argmin_b sum_i counts_i (y_i - z_i b)^2 + |b|^2, the first coefficient (the intercept) free."""
    weighted = Z * counts[:, :, None]
    gram = weighted.mT @ Z + torch.diag(_penalty(Z))
    found: Tensor = torch.linalg.solve(gram, (weighted.mT @ y[:, :, None]))[:, :, 0]
    return found


def logistic(Z: Float[Tensor, "P n k"], y: Float[Tensor, "P n"], counts: Float[Tensor, "P n"]) -> Float[Tensor, "P k"]:
    """argmin_b sum_i counts_i log(1 + exp(-s_i z_i b)) + |b|^2 / 2, s = 2 y - 1, the intercept free; by Newton's steps.

    A step that does not lower the objective is halved.
    """
    penalty = _penalty(Z)
    b = torch.zeros(len(Z), Z.shape[2], dtype=Z.dtype)

    def objective(b: Tensor) -> Tensor:
        margins = (2 * y - 1) * torch.einsum("pnk,pk->pn", Z, b)
        return (counts * torch.nn.functional.softplus(-margins)).sum(dim=1) + (penalty * b.square()).sum(dim=1) / 2

    value = objective(b)
    for _ in range(_STEPS):
        p = torch.einsum("pnk,pk->pn", Z, b).sigmoid()
        slope = torch.einsum("pnk,pn->pk", Z, counts * (p - y)) + penalty * b
        curvature = (Z * (counts * p * (1 - p))[:, :, None]).mT @ Z + torch.diag(penalty + 1e-10)
        step = torch.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        length = torch.ones(len(Z), 1, dtype=Z.dtype)
        for _ in range(_HALVINGS):
            worse = objective(b - length * step) > value
            length = torch.where(worse[:, None], length / 2, length)
        better = objective(b - length * step) <= value
        b = torch.where(better[:, None], b - length * step, b)
        before, value = value, objective(b)
        if bool((before - value <= _TOLERANCE * before.abs()).all()):
            break
    return b


def _penalty(Z: Float[Tensor, "P n k"]) -> Float[Tensor, " k"]:
    penalty = torch.ones(Z.shape[2], dtype=Z.dtype)
    penalty[0] = 0.0
    return penalty


def interval(probe: SparseProbe) -> tuple[float, float]:
    """95 % interval of the score; NaN where the score is not defined."""
    return probe.scored.interval(probe.metric) if math.isfinite(probe.scored.value) else (math.nan, math.nan)
