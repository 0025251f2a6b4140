"""The paper's claims beside the evidence, with a verdict on each."""

from tangentlens.records import Figure
from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import listing, mean_and_interval, number, observations, several
from tangentlens.statistics.claims import LEVEL, VERDICTS
from tangentlens.store import StoredRun
from tangentlens.store.about import Claim
from tangentlens.store.figure_keys import ClaimPart

_PARTS = {
    "value": "what was measured", "null": "what it is compared with", "effect": "the difference", "p": "p",
    "corrected_p": "the corrected p",
}  # fmt: skip
_COLUMNS = ("Claim", "Verdict", "Measured", "Compared with", "Difference (95 % interval)", "p", "Corrected p", "n")


def _build(run: StoredRun) -> tuple[Block, ...]:
    known = run.about.claims
    claims = [claim for claim in known if str(ClaimPart(claim.name, "verdict")) in run.figures]
    if not claims:
        return (Note("This run holds no evidence yet; `tangentlens evidence <run folder>` adds it."),)
    table = Table(_COLUMNS, [_row(run, claim) for claim in claims], "Claims and evidence", numeric=(2, 4, 5, 6, 7))
    inside = (Note(_INSIDE),) if len(run.seeds) == 1 and any(claim.p for claim in claims) else ()
    return (Lead(_sentence(run, claims)), table, *_older(run, claims, len(known)), Note(_RULE), *inside)


def _older(run: StoredRun, claims: list[Claim], known: int) -> tuple[Note, ...]:
    """Claims that an older version did not evaluate, and numbers that it did not store."""
    missing = known - len(claims)
    notes = [f"{several(missing, 'claim').capitalize()} of this version the run does not evaluate."] if missing else []
    lacking = [part for part in _PARTS if any(str(ClaimPart(claim.name, part)) not in run.figures for claim in claims)]
    if lacking:
        notes.append(f"Of some claims the run does not hold {listing([_PARTS[part] for part in lacking])}.")
    return (Note(f"{' '.join(notes)} `tangentlens evidence <run folder>` evaluates them anew."),) if notes else ()


_INSIDE = (
    "This run has one network: intervals are bootstraps over stories, and p comes from exchanges and permutations of "
    "windows. They speak of this network and of text like this, not of other networks."
)


_RULE = (
    "Measured and compared: means over the seeds that have both. Difference: positive where the seeds agree with the "
    "claim. A difference of less than one percentage point counts as none. p: exact sign-flip test over seeds; "
    "corrected: Holm over all claims here. A claim holds where the corrected "
    f"p is at most {LEVEL:g} and the 95 % interval lies above what counts; it does not hold where the interval lies "
    "below that; all else is undecided. One rule for all claims, in statistics/claims.py."
)


def _sentence(run: StoredRun, claims: list[Claim]) -> str:
    verdicts = [_verdict(run, claim) for claim in claims]
    counts = [f"{verdicts.count(word)} {_plural(word, verdicts.count(word))}" for word in VERDICTS.values()]
    n = len(run.seeds)
    alone = n == 1 and not any(claim.p for claim in claims)
    few = " One network decides no claim; they need several seeds." if alone else ""
    return f"Of {several(len(claims), 'claim')}, over {several(n, 'seed')}, {listing(counts)}.{few}"


def _plural(verdict: str, count: int) -> str:
    words = {"holds": ("holds", "hold"), "does not hold": ("does not", "do not"), "undecided": ("is undecided",) * 2}
    one, many = words[verdict]
    return one if count == 1 else many.replace("is ", "are ")


def _verdict(run: StoredRun, claim: Claim) -> str:
    return VERDICTS[_figure(run, claim, "verdict").value or 0.0]


def _row(run: StoredRun, claim: Claim) -> tuple[str, ...]:
    value, null, effect = (_figure(run, claim, part) for part in ("value", "null", "effect"))
    side = "above" if claim.side == "above" else "below"
    p, corrected = (number(_figure(run, claim, part).value) for part in ("p", "corrected_p"))
    compared = claim.null_words if null.value is None else f"{side} {number(null.value, null.unit)}, {claim.null_words}"
    difference = mean_and_interval(effect) if effect.value is not None else number(None)
    measured = number(value.value, value.unit)
    return (claim.statement, _verdict(run, claim), measured, compared, difference, p, corrected, observations(effect))


def _figure(run: StoredRun, claim: Claim, part: str) -> Figure:
    return run.figures.get(str(ClaimPart(claim.name, part)), Figure(None, n=None))


def _has_claims(run: StoredRun) -> bool:
    return bool(run.about.claims)


SECTION = Section("claims", "Claims and evidence", _build, when=_has_claims)
