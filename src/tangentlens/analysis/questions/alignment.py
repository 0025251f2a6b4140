"""Which features lie in which modes: the score of every feature in every group, with its permutation test.

The test repeats the whole selection. Under the null hypothesis a feature has nothing to do with the inputs, so that its
values could as well stand in another order within each half; for every such order a mode and a sign are chosen on one
half and scored on the other, as for the feature itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from tangentlens.alignment.overlap import centred_basis
from tangentlens.alignment.ranking import rank
from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.analysis.questions.resampling import bootstrap_weights, jackknife_spread
from tangentlens.analysis.questions.scoring import (
    METRICS,
    Choice,
    auroc_excess,
    choose,
    correlation,
    held_out,
    overlap_percent,
    resampled,
    rows_of,
    space_overlap,
)
from tangentlens.analysis.subject import Split
from tangentlens.statistics.auroc_inference import auroc_inference

_CHUNK = 2**23  # numbers of permuted features held at a time


@dataclass(frozen=True)
class Alignment:
    """One feature in one group.

    Attributes:
        feature, group: names.
        metric: "auroc", "r2" or "overlap" (percent).
        choice: mode and sign; None for a space, which is compared with all modes.
        modes: number of modes of the group.
        score: on the scoring half; an overlap on all inputs.
        low, high: 95 % interval of the score.
        chance: the score without a relation.
        p: of the permutation test; not corrected.
    """

    feature: str
    group: str
    metric: str
    choice: Choice | None
    modes: int
    score: float
    low: float
    high: float
    chance: float
    p: float


def align(
    groups: Mapping[str, GroupModes],
    features: Sequence[Feature],
    halves: Split,
    *,
    permutations: int,
    resamples: int,
    generator: Generator,
) -> tuple[Alignment, ...]:
    """Score every feature in every group; features in the outer order.

    Args:
        groups: their modes.
        features: what is looked for.
        halves: to choose on, and to score on.
        permutations: orders of each feature.
        resamples: bootstrap samples of the scoring half, for the interval of an R^2.
        generator: of both.
    """
    found: list[Alignment] = []
    for feature in features:
        choices: dict[str, Choice] = {}
        if feature.kind == "space":
            statistics = _space_statistics(groups, feature, permutations, generator)
        else:
            choices = {name: choose(each.vectors, feature, halves) for name, each in groups.items()}
            statistics = _chosen_statistics(groups, feature, choices, halves, permutations, generator)
        p = _permutation_p(statistics, permutations)
        for name, modes in groups.items():
            choice = choices.get(name)
            score, low, high = _interval(modes, feature, choice, halves, resamples, generator)
            chance = {"binary": 0.5, "real": 0.0, "space": 100 * modes.count / max(1, len(modes.vectors) - 1)}
            found.append(
                Alignment(
                    feature.name, name, METRICS[feature.kind], choice, modes.count, score, low, high,
                    chance[feature.kind], p[name],
                )
            )  # fmt: skip
    return tuple(found)


def _interval(
    modes: GroupModes,
    feature: Feature,
    choice: Choice | None,
    halves: Split,
    resamples: int,
    generator: Generator,
) -> tuple[float, float, float]:
    """Score and 95 % interval: DeLong's for an AUROC, bootstrap for an R^2, jackknife for an overlap."""
    if choice is None:
        spread = jackknife_spread(lambda rows: overlap_percent(modes.vectors[rows], feature.values[rows]),
                                  feature.present.nonzero().flatten(), generator)  # fmt: skip
        score = space_overlap(modes.vectors, feature)
        return score, max(0.0, score - 1.96 * spread), min(100.0, score + 1.96 * spread)
    rows = rows_of(feature, halves.test)
    if feature.kind == "binary":
        signs = torch.tensor([[float(choice.sign)]])
        found = auroc_inference(modes.vectors[rows, choice.mode][:, None], feature.values[rows], signs)
        return float(found.value), float(found.low), float(found.high)
    weights = bootstrap_weights(len(rows), resamples, generator)
    spread_of = resampled(modes.vectors, feature, choice, halves, weights)
    low, high = spread_of[spread_of.isfinite()].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return held_out(modes.vectors, feature, choice, halves), low, high


Statistics = tuple[dict[str, float], Iterator[dict[str, Tensor]]]


def _permutation_p(statistics: Statistics, permutations: int) -> dict[str, float]:
    """(1 + orders in which the feature scores at least as high) / (1 + orders), for each group."""
    own, drawn = statistics
    reached = dict.fromkeys(own, 0)
    for each in drawn:
        for name, values in each.items():
            reached[name] += int((values >= own[name] - 1e-12 * max(1.0, abs(own[name]))).sum())
    return {name: (1 + count) / (1 + permutations) for name, count in reached.items()}


def _chosen_statistics(
    groups: Mapping[str, GroupModes],
    feature: Feature,
    choices: Mapping[str, Choice],
    halves: Split,
    permutations: int,
    generator: Generator,
) -> Statistics:
    """The signed score on the scoring half, chosen on the other, of the feature and of its permutations."""
    binary = feature.kind == "binary"
    measure: Callable[..., Tensor] = auroc_excess if binary else correlation
    sides = [rows_of(feature, rows) for rows in (halves.train, halves.test)]
    columns = torch.cat([each.vectors for each in groups.values()], dim=1)
    targets = [feature.values[rows, 0] for rows in sides]
    tables = [rank(columns[rows]) if binary else columns[rows] for rows in sides]
    on_test = measure(tables[1], targets[1][:, None])[:, 0]
    starts = _starts(groups)
    own = {name: choice.sign * float(on_test[starts[name] + choice.mode]) for name, choice in choices.items()}

    def drawn() -> Iterator[dict[str, Tensor]]:
        for count in _counts(permutations, sum(map(len, targets)) + columns.shape[1]):
            chosen, scored = (
                measure(table, _permuted(target, count, generator))
                for table, target in zip(tables, targets, strict=True)
            )
            yield {
                name: _best(chosen[starts[name] : starts[name] + each.count], scored[starts[name] :])
                for name, each in groups.items()
            }

    return own, drawn()


def _best(chosen: Float[Tensor, "k P"], scored: Float[Tensor, "m P"]) -> Float[Tensor, " P"]:
    """The score of the row that is largest in absolute value where it is chosen, with the sign that it has there."""
    best = chosen.abs().argmax(dim=0, keepdim=True)
    return (chosen.gather(0, best).sign() * scored.gather(0, best))[0]


def _space_statistics(
    groups: Mapping[str, GroupModes],
    feature: Feature,
    permutations: int,
    generator: Generator,
) -> Statistics:
    """The overlap in percent, of the space and of the space with its rows in another order."""
    F = centred_basis(feature.values[feature.present])
    Q = torch.cat([torch.linalg.qr(each.vectors[feature.present]).Q for each in groups.values()], dim=1)
    starts = _starts(groups)
    r = F.shape[1]

    def percents(inside: Float[Tensor, "k P r"]) -> dict[str, Tensor]:
        squares = inside.square().sum(dim=2)
        return {
            name: 100 * squares[starts[name] : starts[name] + each.count].sum(dim=0) / r
            for name, each in groups.items()
        }

    def drawn() -> Iterator[dict[str, Tensor]]:
        for count in _counts(permutations, r * (len(F) + Q.shape[1])):
            orders = torch.rand(count, len(F), generator=generator).argsort(dim=1)
            yield percents((Q.T @ F[orders].transpose(0, 1).flatten(1)).unflatten(1, (count, r)))

    return {name: float(value[0]) for name, value in percents((Q.T @ F)[:, None]).items()}, drawn()


def _permuted(target: Float[Tensor, " n"], count: int, generator: Generator) -> Float[Tensor, "n P"]:
    return target[torch.rand(count, len(target), generator=generator).argsort(dim=1)].T


def _starts(groups: Mapping[str, GroupModes]) -> dict[str, int]:
    """Where the columns of each group begin."""
    starts, at = {}, 0
    for name, each in groups.items():
        starts[name] = at
        at += each.count
    return starts


def _counts(permutations: int, numbers: int) -> list[int]:
    """Permutations at a time."""
    size = max(1, min(permutations, _CHUNK // max(1, numbers)))
    return [min(size, permutations - start) for start in range(0, permutations, size)]
