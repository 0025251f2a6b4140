"""How well scores rank labelled inputs: AUROC, average precision, precision at a quota; many scores and labels at once.

Scores are ranked once. What is linear in the labels is then one matrix product; average precision, which is not, is a
cumulative sum in the order of each score. The weighted forms resample inputs without forming the resamples.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError

# scores (N, L), labels (N, L), weights (B, N) -> (B, L): score l ranks label l where input i counts weights[b, i] times
WeightedMeasure = Callable[[Tensor, Tensor, Tensor], Tensor]

_CHUNK = 2**15 - 1  # entries of a cumulative sum: few enough to stay in the cache and on one thread of torch


@dataclass(frozen=True)
class Ranking:
    """The order that each of M scores gives N inputs; equal scores form one tie group, counted from the highest.

    Attributes:
        midranks: rank (1 for the lowest score, the mean over a tie group) less (N + 1) / 2, float64; exact.
        groups: index of the tie group of each input.
        starts: starts[m, g] is the number of inputs in the groups before g, float64; N beyond the last group.
        ends: ends[m, g] is the number of inputs in the groups up to g; N beyond the last group.
    """

    midranks: Float[Tensor, "M N"]
    groups: Int[Tensor, "M N"]
    starts: Float[Tensor, "M N"]
    ends: Float[Tensor, "M N"]


def rank(scores: Tensor) -> Ranking:
    """Rank each column of scores.

    Args:
        scores: (N, M), any real dtype, N at least 2.

    Raises:
        InvalidInputError: not a real matrix with at least 2 rows and 1 column.
        NumericalError: scores hold NaN or infinity.
    """
    values = _checked_scores(scores).cpu().numpy().T
    n = values.shape[1]
    groups, through, before = (
        torch.from_numpy(rankdata(-values, method=method, axis=1)) for method in ("dense", "max", "min")
    )
    groups = groups.to(torch.int64) - 1
    beyond = torch.full(values.shape, float(n), dtype=torch.float64)
    return Ranking(
        midranks=torch.from_numpy(rankdata(values, axis=1)) - (n + 1) / 2,
        groups=groups,
        starts=beyond.scatter(1, groups, before.to(torch.float64) - 1),
        ends=beyond.scatter(1, groups, through.to(torch.float64)),
    )


def checked_labels(labels: Tensor, rows: int, where: str = "labels") -> Float[Tensor, "N L"]:
    """Labels as float64 zeros and ones, each with a positive and a negative.

    Raises:
        InvalidInputError: not a matrix with `rows` rows and 1 column or more, an entry other than 0 and 1 (NaN
            included), or a label that is the same for all rows.
    """
    if labels.ndim != 2 or len(labels) != rows or labels.shape[1] == 0 or labels.is_complex():
        raise InvalidInputError(
            f"expected labels of shape ({rows}, L), not {tuple(labels.shape)}",
            where=where,
            remedy="Give one row for each row of the scores and one column for each label.",
        )
    binary = labels.detach().cpu().to(torch.float64)
    if not bool(((binary == 0) | (binary == 1)).all()):
        raise InvalidInputError("a label is 0 or 1 for each input", where=where, remedy="Give a Boolean matrix.")
    constant = ((binary.mean(dim=0) == 0) | (binary.mean(dim=0) == 1)).nonzero()[:, 0].tolist()
    if constant:
        raise InvalidInputError(
            f"label {constant[0]} has no {'positive' if binary[0, constant[0]] == 0 else 'negative'} among {rows} rows",
            where=where,
            remedy="Leave it out, or give more inputs.",
        )
    return binary


def auroc(scores: Tensor, labels: Tensor) -> Float[Tensor, "M L"]:
    """Area under the receiver operating characteristic of every score for every label, ties counted one half.

    With r the midranks and n+ and n- the numbers of positives and negatives, it is
    (sum of r over the positives - n+ (n+ + 1) / 2) / (n+ n-) (Mann and Whitney 1947).

    Args:
        scores: (N, M), any real dtype.
        labels: (N, L), Boolean or 0 and 1.

    Raises:
        InvalidInputError: shapes that do not fit, or a label that is the same for all inputs.
        NumericalError: scores hold NaN or infinity.
    """
    return auroc_of_signs(rank(scores), checked_labels(labels, len(scores)))[0]


def average_precision(scores: Tensor, labels: Tensor) -> Float[Tensor, "M L"]:
    """Average precision of every score for every label: sum over thresholds of (rise of recall) * precision.

    Each distinct score is a threshold, as in scikit-learn: equal scores enter together. Chance gives the prevalence
    (a little more in small samples). Arguments and errors are those of `auroc`.
    """
    return average_precision_of_signs(rank(scores), checked_labels(labels, len(scores)))[0]


def precision_at_quota(scores: Tensor, labels: Tensor, quota: Tensor | None = None) -> Float[Tensor, "M L"]:
    """Share of positives among the `quota` highest scores; where a tie spans the last place, its expected value.

    Args:
        scores: (N, M), any real dtype.
        labels: (N, L), Boolean or 0 and 1.
        quota: (L,) integers between 1 and N; by default each label's number of positives.

    Raises:
        InvalidInputError: as `auroc`, or a quota out of range.
        NumericalError: scores hold NaN or infinity.
    """
    ranking, binary = rank(scores), checked_labels(labels, len(scores))
    places = binary.sum(dim=0) if quota is None else _checked_quota(quota, binary)
    columns = [_shares_of_top(ranking, float(q)) @ binary[:, i] / q for i, q in enumerate(places.tolist())]
    return torch.stack(columns, dim=1)


def enrichment(scores: Tensor, labels: Tensor, quota: Tensor | None = None) -> Float[Tensor, "M L"]:
    """Precision at the quota over the prevalence of the label: 1 by chance. Arguments as `precision_at_quota`."""
    return precision_at_quota(scores, labels, quota) / checked_labels(labels, len(scores)).mean(dim=0)


def auroc_of_signs(ranking: Ranking, labels: Float[Tensor, "N K"]) -> Float[Tensor, "2 M K"]:
    """AUROC of +score and -score for every pair of a score and a label; labels already checked."""
    above = ranking.midranks @ labels / _pairs(labels) + 0.5
    return torch.stack([above, 1 - above])


def paired_auroc_of_signs(
    ranking: Ranking, scores: Int[Tensor, " K"], labels: Float[Tensor, "N K"]
) -> Float[Tensor, "2 K"]:
    """AUROC of +score and -score, label k with the score of index scores[k] alone."""
    above = (ranking.midranks[scores].T * labels).sum(dim=0) / _pairs(labels) + 0.5
    return torch.stack([above, 1 - above])


def average_precision_of_signs(ranking: Ranking, labels: Float[Tensor, "N K"]) -> Float[Tensor, "2 M K"]:
    """Average precision of +score and -score for every pair of a score and a label; labels already checked."""
    from_top, from_bottom = _precision_weights(ranking)
    found = labels.new_empty(2, len(from_top), labels.shape[1])
    for part in _pieces(labels):
        rows = labels[:, part].T.contiguous()
        positives = rows.sum(dim=1, keepdim=True)
        for m, groups in enumerate(ranking.groups):
            hits = torch.zeros_like(rows).index_add_(1, groups, rows)
            found[0, m, part], found[1, m, part] = _precision_sums(hits, positives, from_top[m], from_bottom[m])
    return found / labels.sum(dim=0)


def paired_average_precision_of_signs(
    ranking: Ranking, scores: Int[Tensor, " K"], labels: Float[Tensor, "N K"]
) -> Float[Tensor, "2 K"]:
    """Average precision of +score and -score, label k with the score of index scores[k] alone."""
    from_top, from_bottom = _precision_weights(ranking)
    found = labels.new_empty(2, labels.shape[1])
    for part in _pieces(labels):
        rows, chosen = labels[:, part].T.contiguous(), scores[part]
        positives = rows.sum(dim=1, keepdim=True)
        hits = torch.zeros_like(rows).scatter_add_(1, ranking.groups[chosen], rows)
        found[0, part], found[1, part] = _precision_sums(hits, positives, from_top[chosen], from_bottom[chosen])
    return found / labels.sum(dim=0)


@dataclass(frozen=True)
class Criterion:
    """A way to judge rankings, for both signs of a score.

    Attributes:
        every_pair: of every score for every label, (2, M, K).
        paired: of one given score for each label, (2, K).
    """

    every_pair: Callable[[Ranking, Tensor], Tensor]
    paired: Callable[[Ranking, Tensor, Tensor], Tensor]


AUROC = Criterion(auroc_of_signs, paired_auroc_of_signs)
AVERAGE_PRECISION = Criterion(average_precision_of_signs, paired_average_precision_of_signs)
CRITERIA: Mapping[str, Criterion] = {"auroc": AUROC, "average_precision": AVERAGE_PRECISION}


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


def _pairs(labels: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    positives = labels.sum(dim=0)
    return positives * (len(labels) - positives)


def _precision_weights(ranking: Ranking) -> tuple[Float[Tensor, "M N"], Float[Tensor, "M N"]]:
    """One over the number of inputs at or above each tie group, and at or below it."""
    return 1 / ranking.ends, 1 / (ranking.ends.shape[1] - ranking.starts).clamp_min(1)


def _precision_sums(
    hits: Float[Tensor, "K N"],
    positives: Float[Tensor, "K 1"],
    from_top: Float[Tensor, "*K N"],
    from_bottom: Float[Tensor, "*K N"],
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Positives times average precision of both signs, from the positives in each tie group, the highest first."""
    above = hits.cumsum(dim=1)
    below = (positives + hits).sub_(above)
    return _inner(above.mul_(hits), from_top), _inner(below.mul_(hits), from_bottom)


def _inner(rows: Float[Tensor, "K N"], weights: Float[Tensor, "*K N"]) -> Float[Tensor, " K"]:
    """Inner product of each row with the weights, or with its own row of weights."""
    return (rows[:, None] @ weights[..., None])[:, 0, 0]


def _pieces(labels: Float[Tensor, "N K"]) -> Iterator[slice]:
    size = max(1, _CHUNK // len(labels))
    return (slice(start, start + size) for start in range(0, labels.shape[1], size))


def _shares_of_top(ranking: Ranking, quota: float) -> Float[Tensor, "M N"]:
    """Probability that an input is among the `quota` highest when ties are broken at random."""
    first, last = ranking.starts.gather(1, ranking.groups), ranking.ends.gather(1, ranking.groups)
    return ((quota - first) / (last - first)).clamp(0, 1)


def _checked_quota(quota: Tensor, labels: Float[Tensor, "N L"]) -> Float[Tensor, " L"]:
    n, count = labels.shape
    if quota.shape != (count,) or bool((quota < 1).any()) or bool((quota > n).any()) or quota.is_floating_point():
        raise InvalidInputError(
            f"a quota is a whole number from 1 to {n} for each of {count} labels, not {quota.tolist()}", where="quota"
        )
    return quota.cpu().to(torch.float64)


def _checked_scores(scores: Tensor) -> Float[Tensor, "N M"]:
    if scores.ndim != 2 or len(scores) < 2 or scores.shape[1] == 0 or scores.is_complex():
        raise InvalidInputError(
            f"expected real scores of at least 2 inputs, not {scores.dtype} of shape {tuple(scores.shape)}",
            where="scores",
            remedy="Give one row for each input and one column for each mode.",
        )
    values = scores.detach().to(torch.float64)
    if not bool(values.isfinite().all()):
        bad = int((~values.isfinite().all(dim=0)).nonzero()[0, 0])
        raise NumericalError("the scores hold NaN or infinity", where=f"scores, column {bad}")
    return values


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
