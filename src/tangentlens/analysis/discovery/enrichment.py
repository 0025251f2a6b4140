"""What modes without a name are about: which facts go with their scores, tested with the selection on other inputs.

Two tests of every fact and mode. Ranking: the correlation of ranks; for a fact that is true or false it is the rank sum
of Mann and Whitney, and its effect is given as AUROC. Extremes: how many of the inputs at one end of the mode have the
fact (a number: lie in its highest or lowest quarter), against drawing without replacement. The sign, the end and the
quarter are chosen on one half of the inputs, so that on the other half both tests are one-sided and nothing was
selected there; Holm's correction is over all facts, modes and both tests.

p of the ranking is that of its permutation distribution, whose variance is 1 / (n - 1), in the normal limit. Ranks are
bounded, so that its tails are below the normal's unless the scores tie: where more than half of them do, orders are
drawn instead. p of the extremes is hypergeometric, exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Generator, Tensor

from tangentlens.alignment.ranking import rank
from tangentlens.analysis.discovery.facts import Fact
from tangentlens.analysis.subject import Split
from tangentlens.statistics.corrections import holm

EXTREMES = 10
ORDERS = 999
_QUARTER = 0.25
_STEP = 0.02  # facts whose strengths differ by less are equally good
_ROUNDING = 1e-6  # scores closer than this part of the largest are equal

QUARTERS = ("", "lowest quarter", "highest quarter")  # of a number, that the extremes' share is of


@dataclass(frozen=True)
class Enrichment:
    """M modes and F facts.

    Attributes:
        chosen: strength on the choosing half, from -1 to 1: 2 AUROC - 1, or the rank correlation of a number.
        strength: that of the scoring half, in the direction chosen.
        sign: +1 or -1, chosen.
        p: of the strength, one-sided; not corrected.
        end: +1 highest scores, -1 lowest, chosen.
        quarter: place in QUARTERS, chosen; 0 for a fact that is true or false.
        share: of the extremes of the scoring half at that end that have the fact, or lie in the quarter.
        base: of all inputs of that half.
        p_extremes: of that share, exact; not corrected.
        corrected: the smaller of both, by Holm over all.
        merit: strength that is left on the choosing half after two standard errors, in steps of 0.02; facts are
            ordered by it, and of equal ones the first is taken, a feature before a prediction.
        extremes: number of inputs at each end.
    """

    chosen: Float[Tensor, "M F"]
    strength: Float[Tensor, "M F"]
    sign: Float[Tensor, "M F"]
    p: Float[Tensor, "M F"]
    end: Float[Tensor, "M F"]
    quarter: Int[Tensor, "M F"]
    share: Float[Tensor, "M F"]
    base: Float[Tensor, "M F"]
    p_extremes: Float[Tensor, "M F"]
    corrected: Float[Tensor, "M F"]
    merit: Float[Tensor, "M F"]
    extremes: int


def enrichment(
    scores: Float[Tensor, "N M"], facts: Sequence[Fact], halves: Split, generator: Generator
) -> Enrichment | None:
    """Test every fact in every mode; None without facts.

    Args:
        scores: of all modes.
        facts: about the inputs.
        halves: to choose on, and to score on.
        generator: of the orders of modes whose scores tie.
    """
    if not facts or scores.shape[1] == 0:
        return None
    rounded = _rounded(scores)
    E = max(1, min(EXTREMES, len(halves.train) // 4, len(halves.test) // 4))
    sides: dict[bytes, tuple[_Side, _Side]] = {}
    columns = []
    for fact in facts:
        key = fact.present.numpy().tobytes()
        if key not in sides:
            train, test = (
                _side(rounded, rows[fact.present[rows]], E, generator) for rows in (halves.train, halves.test)
            )
            sides[key] = (train, test)
        columns.append(_of_fact(fact, *sides[key], E, generator))
    parts = {name: torch.stack([column[name] for column in columns], dim=1) for name in columns[0]}
    both = holm(torch.stack([parts["p"], parts["p_extremes"]]).clamp(0, 1))
    return Enrichment(**parts, corrected=both.amin(dim=0), extremes=E)


@dataclass(frozen=True)
class _Side:
    """The modes on some rows, in random order: midranks, whether more than half tie, places of highest and lowest."""

    rows: Int[Tensor, " n"]
    ranks: Float[Tensor, "M n"]
    tied: Bool[Tensor, " M"]
    ends: tuple[Int[Tensor, "E M"], Int[Tensor, "E M"]]


def _side(scores: Float[Tensor, "N M"], rows: Int[Tensor, " n"], E: int, generator: Generator) -> _Side:
    """The random order decides which of equal scores are extremes."""
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    values = scores[shuffled]
    ranking = rank(values)
    largest = (ranking.ends - ranking.starts).amax(dim=1)
    ends = (-values).argsort(dim=0, stable=True)[:E], values.argsort(dim=0, stable=True)[:E]
    return _Side(shuffled, ranking.midranks, largest > len(rows) / 2, ends)


def _rounded(scores: Float[Tensor, "N M"]) -> Float[Tensor, "N M"]:
    """Scores in steps of their rounding error, so that equal ones are equal."""
    values = scores.to(torch.float64)
    step = _ROUNDING * values.abs().amax(dim=0).clamp_min(1e-300)
    return (values / step).round()


def _of_fact(fact: Fact, train: _Side, test: _Side, E: int, generator: Generator) -> dict[str, Tensor]:
    chosen, z = _strength(fact, train)
    sign = torch.where(chosen >= 0, 1.0, -1.0).to(torch.float64)
    strength, z_test = _strength(fact, test)
    p = torch.from_numpy(stats.norm.sf((sign * z_test).numpy()))
    if bool(test.tied.any()):
        p[test.tied] = _drawn_p(test.ranks[test.tied], fact.values[test.rows], sign[test.tied], generator)
    merit = chosen.abs() - 2 * torch.where(z.abs() > 0, chosen.abs() / z.abs().clamp_min(1e-300), math.inf)
    merit = (merit / _STEP).round() * _STEP
    return {
        "chosen": chosen, "strength": sign * strength, "sign": sign, "p": p, "merit": merit,
        **_extremes(fact, train, test, E),
    }  # fmt: skip


def _strength(fact: Fact, side: _Side) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """(strength, standardised rank statistic) of every mode."""
    values, ranks = fact.values[side.rows], side.ranks
    own = rank(values[:, None]).midranks[0]
    lengths = torch.linalg.vector_norm(ranks, dim=1)
    correlation = torch.where(lengths > 0, ranks @ own / (lengths * own.norm()).clamp_min(1e-300), 0.0)
    z = correlation * math.sqrt(len(values) - 1)
    if not fact.binary:
        return correlation, z
    positives = float(values.sum())
    return 2 * (ranks @ values) / (positives * (len(values) - positives)), z


def _drawn_p(
    ranks: Float[Tensor, "m n"], values: Float[Tensor, " n"], sign: Float[Tensor, " m"], generator: Generator
) -> Float[Tensor, " m"]:
    """(1 + orders of the fact with at least as large a rank sum) / (1 + orders)."""
    own = rank(values[:, None]).midranks[0]
    observed = sign * (ranks @ own)
    limit = observed - 1e-9 * observed.abs().clamp_min(1)
    reached = torch.zeros(len(ranks), dtype=torch.float64)
    for _ in range(ORDERS):
        order = torch.randperm(len(own), generator=generator)
        reached += sign * (ranks @ own[order]) >= limit
    return (1 + reached) / (1 + ORDERS)


def _extremes(fact: Fact, train: _Side, test: _Side, E: int) -> dict[str, Tensor]:
    """The end, and of a number the quarter, with the highest share on the choosing half; its share on the other."""
    marks = _marks(fact, train.rows)  # (N, q)
    counts = [
        torch.stack([marks[side.rows][places].sum(dim=0) for places in side.ends])  # (2, M, q)
        for side in (train, test)
    ]
    M, q = counts[0].shape[1:]
    surplus = counts[0] - E * marks[train.rows].mean(dim=0)
    best = surplus.permute(1, 0, 2).reshape(M, -1).argmax(dim=1)  # end * q + mark
    found = counts[1].permute(1, 0, 2).reshape(M, -1).gather(1, best[:, None])[:, 0]
    mark = best % q
    n, total = len(test.rows), marks[test.rows].sum(dim=0)[mark]
    p = stats.hypergeom.sf(found.numpy() - 1, n, total.numpy().astype(int), E)
    return {
        "end": torch.where(best < q, 1.0, -1.0).to(torch.float64),
        "quarter": torch.zeros(M, dtype=torch.int64) if fact.binary else 1 + mark,
        "share": found / E,
        "base": total / n,
        "p_extremes": torch.from_numpy(np.asarray(p, dtype=np.float64)),
    }


def _marks(fact: Fact, train: Int[Tensor, " n"]) -> Float[Tensor, "N q"]:
    """The fact; of a number its lowest and its highest quarter, bounded on the choosing half."""
    if fact.binary:
        return fact.values[:, None]
    return torch.stack([_highest(-fact.values, train), _highest(fact.values, train)], dim=1)


def _highest(values: Float[Tensor, " N"], train: Int[Tensor, " n"]) -> Float[Tensor, " N"]:
    """1 in the highest quarter; values equal to its bound are in it if that comes closer to a quarter."""
    bound = values[train].quantile(1 - _QUARTER)
    marks = [(values >= bound).to(torch.float64), (values > bound).to(torch.float64)]
    return min(marks, key=lambda mark: abs(float(mark[train].mean()) - _QUARTER))
