"""Claims and the evidence for them, by one rule for all of them.

A claim says that a figure lies above (or below) what it is compared with: a number, or another figure of the same seed.
Its effect is the difference of the two in one seed, positive where the seed agrees with the claim. An effect has to
exceed the least one that counts, LEAST: one percentage point for a percentage, 0 for all else; what ten seeds can tell
from nothing is not yet something. With d the effect less the least one, over the seeds:

    p            exact sign-flip test of mean d 0 against > 0: the share of all 2^n choices of the signs of d whose
                 mean is at least the observed one (sampled beyond 12 seeds); the least p of n seeds is 2^-n
    corrected p  Holm's, over all claims of the run that have a p
    holds        corrected p <= 0.05 and the 95 % interval of the mean of d lies above 0
    does not hold   that interval lies below 0, or is the point 0: the seeds agree, and not with the claim
    undecided    all else; one seed decides nothing by this test

A claim about inputs rather than networks (one language model, many windows) names a p that one seed has by itself, of a
test over its inputs, and its figure has an interval inside the seed. Where a run has one seed, these two take the place
of the test and the interval over seeds; all else stays the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from tangentlens.records import Figure
from tangentlens.statistics.corrections import holm_of_known
from tangentlens.statistics.intervals import mean_interval
from tangentlens.store.about import Claim
from tangentlens.store.figure_keys import ClaimPart

Verdict = Literal["holds", "does not hold", "undecided"]

LEVEL = 0.05
# unit -> the least effect that counts
LEAST: Mapping[str, float] = {"percent": 1.0}
_EXACT = 2**12  # sign choices up to which all of them are taken

# What results.json holds for a verdict, which there must be a number.
VERDICTS: Mapping[float, Verdict] = {1.0: "holds", 0.0: "undecided", -1.0: "does not hold"}


@dataclass(frozen=True)
class Evidence:
    """A claim with its figures and its verdict.

    Attributes:
        claim: which.
        value: the metric over the seeds that have both it and the null.
        null: the null over the same seeds.
        effect: their difference, positive where the claim is right.
        p: of the sign-flip test, or of the one seed's own; NaN where there is neither.
        corrected_p: by Holm over the run's claims.
        verdict: by the rule of this module.
    """

    claim: Claim
    value: Figure
    null: Figure
    effect: Figure
    p: float
    corrected_p: float
    verdict: Verdict


def evaluate(
    claims: Sequence[Claim],
    figures: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    units: Mapping[str, str],
    inside: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Evidence, ...]:
    """Evaluate the claims of a run together, by the rule of this module.

    Args:
        claims: those of one run.
        figures: key -> one number a seed, NaN where the seed has none; an absent key counts as NaN throughout.
        seeds: in the order of the numbers.
        units: key -> unit.
        inside: key -> interval inside the seed, of a run that has one.
    """
    measured = [_measured(claim, figures, len(seeds)) for claim in claims]
    effects = [
        _effect(claim, effect, seeds, units.get(claim.metric, ""), inside or {})
        for claim, (_, _, effect) in zip(claims, measured, strict=True)
    ]
    p = [_p(claim, effect, figures, units) for claim, (_, _, effect) in zip(claims, measured, strict=True)]
    found = []
    for claim, (values, nulls, _), effect, raw, corrected in zip(
        claims, measured, effects, p, holm_of_known(p), strict=True
    ):
        unit = units.get(claim.metric, "")
        value, null = (mean_interval(each, seeds=seeds, unit=unit) for each in (values, nulls))
        answer = verdict(_shifted(effect, -LEAST.get(unit, 0.0)), corrected)
        found.append(Evidence(claim, value, null, effect, raw, corrected, answer))
    return tuple(found)


def _effect(
    claim: Claim, effect: Sequence[float], seeds: Sequence[int], unit: str, inside: Mapping[str, tuple[float, float]]
) -> Figure:
    """The effect with its interval: over seeds, or inside the only one."""
    found = mean_interval(effect, seeds=seeds, unit=unit)
    if len(seeds) > 1 or claim.p is None or claim.metric not in inside or isinstance(claim.null, str):
        return found
    low, high = (bound - claim.null for bound in inside[claim.metric])
    return replace(found, interval=(low, high) if claim.side == "above" else (-high, -low))


def _p(
    claim: Claim, effect: Sequence[float], figures: Mapping[str, Sequence[float]], units: Mapping[str, str]
) -> float:
    if len(effect) == 1 and claim.p is not None:
        return float(figures.get(claim.p, [math.nan])[0])
    return sign_flip_p([one - LEAST.get(units.get(claim.metric, ""), 0.0) for one in effect])


def _shifted(figure: Figure, by: float) -> Figure:
    if figure.value is None or figure.interval is None:
        return figure
    low, high = figure.interval
    return replace(figure, value=figure.value + by, interval=(low + by, high + by))


def verdict(excess: Figure, corrected_p: float) -> Verdict:
    """The verdict on a claim whose effect exceeds the least one by this over the seeds, with this corrected p."""
    if excess.interval is None:
        return "undecided"
    low, high = excess.interval
    if high < 0 or low == high == 0:
        return "does not hold"
    return "holds" if low > 0 and corrected_p <= LEVEL else "undecided"


def sign_flip_p(effects: Sequence[float]) -> float:
    """One-sided p of mean effect 0 against > 0 under random signs; NaN for fewer than two finite effects.

    Valid where each effect would be distributed symmetrically around 0 if the claim were empty.
    """
    x = np.asarray(effects, dtype=np.float64)
    x = x[np.isfinite(x)]
    if len(x) < 2:
        return math.nan
    tested = stats.permutation_test(
        (x,), np.mean, permutation_type="samples", alternative="greater", n_resamples=_EXACT,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(tested.pvalue)


def evidence_figures(evidence: Sequence[Evidence]) -> dict[str, Figure]:
    """Figures of evaluated claims: claim.<name>.value, .null, .effect, .p, .corrected_p, .verdict."""
    figures: dict[str, Figure] = {}
    for each in evidence:
        name, n, seeds = each.claim.name, each.effect.n, each.effect.seeds
        code = next(code for code, word in VERDICTS.items() if word == each.verdict)
        parts = {
            "value": each.value,
            "null": each.null,
            "effect": each.effect,
            "p": Figure(_finite(each.p), None, n, seeds, "probability"),
            "corrected_p": Figure(_finite(each.corrected_p), None, n, seeds, "probability"),
            "verdict": Figure(code, None, n, seeds, "verdict"),
        }
        figures |= {str(ClaimPart(name, part)): figure for part, figure in parts.items()}
    return figures


def _measured(
    claim: Claim, figures: Mapping[str, Sequence[float]], n: int
) -> tuple[list[float], list[float], list[float]]:
    """Metric, null and effect of every seed; all NaN where either is."""
    absent = [math.nan] * n
    value = np.asarray(figures.get(claim.metric, absent), dtype=np.float64)
    compared = figures.get(claim.null, absent) if isinstance(claim.null, str) else [claim.null] * n
    null = np.asarray(compared, dtype=np.float64)
    effect = value - null if claim.side == "above" else null - value
    missing = ~np.isfinite(effect)
    value, null, effect = (np.where(missing, math.nan, each) for each in (value, null, effect))
    return value.tolist(), null.tolist(), effect.tolist()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
