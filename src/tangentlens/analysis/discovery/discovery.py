"""The step that looks at every mode without a feature given: its extremes, its kin, what may explain it."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from tangentlens.analysis.case import Case
from tangentlens.analysis.discovery.enrichment import EXTREMES, QUARTERS, Enrichment, enrichment
from tangentlens.analysis.discovery.facts import Fact, classes_of, facts_at_hand
from tangentlens.analysis.discovery.families import Families, families
from tangentlens.analysis.discovery.shown import Shown
from tangentlens.analysis.discovery.shown_findings import shown_findings
from tangentlens.analysis.findings import Arrays, Findings, merged
from tangentlens.analysis.modes.kernel_modes import GroupModes, KernelModes
from tangentlens.analysis.subject import Split
from tangentlens.progress import Progress, silent
from tangentlens.store.tables import Column, table_parts

LEVEL = 0.05  # an explanation whose corrected p is above it is none
_LISTED = 8  # explanations of a mode in the table
Place = tuple[str, int]


def discovery(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Describe every mode of every group, needing nothing but the modes.

    The table "modes" has a row for each: group, mode, value, residual, share of the trace, mean and skew of its scores,
    unresolved (1 where only a space with its neighbours is known), family ("group mode" of its representative), members
    of the family, explained_by with source, metric, score and p_corrected; empty where no fact is beyond chance. The
    table "explanations" has the best facts of every mode, best first on the choosing half, scored on the other. Arrays:
    for every group G modes.G.extremes (k, 2E), the inputs with the highest scores and then with the lowest; and for
    every fact modes.G.strength, .merit, .p, .p_corrected, .sign, .end, .quarter, .share and .base (k, F). Words:
    facts.names, facts.kinds and facts.sources; inputs.classes, the class of every input, and inputs.label, its name.
    """
    facts, classes = facts_at_hand(case), classes_of(case)
    return described(
        kernels.groups, facts, classes, case.halves, case.generator("enrichment"), shown=case.shown, progress=progress
    )


def described(
    groups: Mapping[str, GroupModes],
    facts: Sequence[Fact],
    classes: tuple[str, tuple[str, ...]] | None,
    halves: Split,
    generator: Generator,
    *,
    shown: Shown | None = None,
    progress: Progress = silent,
) -> Findings:
    """The tables of `discovery` from modes and facts of any kind.

    Args:
        groups: name -> modes.
        facts: about the inputs, that may explain modes.
        classes: name of a label with few classes, and the class of every input.
        halves: to choose explanations on, and to score them on.
        generator: of the tests.
        shown: how an input is shown.
        progress: receives the parts.
    """
    progress("discovery", 0, 3)
    places = [(name, mode) for name, each in groups.items() for mode in range(each.count)]
    shares = [share for each in groups.values() for share in _shares(each)]
    joined = families({name: each.vectors for name, each in groups.items()}, shares)
    progress("discovery", 1, 3)
    scores = torch.cat([each.vectors for each in groups.values()], dim=1)
    found = enrichment(scores, facts, halves, generator)
    progress("discovery", 2, 3)
    ends = {name: extremes(each.vectors) for name, each in groups.items()}
    arrays: Arrays = {f"modes.{name}.extremes": rows for name, rows in ends.items()}
    arrays |= _similar(joined)
    named = {} if classes is None else {"inputs.label": (classes[0],), "inputs.classes": classes[1]}
    parts = [Findings(arrays=arrays, words=named, notes=_notes(shown, facts, joined))]
    parts.append(_table("modes", _modes_table(groups, places, shares, joined, facts, found)))
    if found is not None:
        parts += [_strengths(groups, found, facts), _table("explanations", _explanations(places, facts, found))]
    if shown is not None:
        used = torch.cat([rows.flatten() for rows in ends.values()]).unique()
        parts.append(shown_findings(shown, used.tolist(), progress))
    progress("discovery", 3, 3)
    return merged(parts)


def extremes(vectors: Float[Tensor, "N k"], each: int = EXTREMES) -> Int[Tensor, "k E"]:
    """The inputs with the highest scores of every mode, then those with the lowest, the most extreme of both first."""
    E = min(each, len(vectors) // 2)
    highest = (-vectors).argsort(dim=0, stable=True)[:E]
    lowest = vectors.argsort(dim=0, stable=True)[:E]
    found: Tensor = torch.cat([highest, lowest]).T.contiguous()
    return found


def skewness(vectors: Float[Tensor, "N k"]) -> Float[Tensor, " k"]:
    """Third central moment over the cube of the standard deviation; 0 where scores do not vary."""
    centred = vectors.to(torch.float64) - vectors.to(torch.float64).mean(dim=0)
    spread = centred.square().mean(dim=0).sqrt()
    varies = spread > 1e-9 * vectors.abs().amax(dim=0)
    found: Tensor = torch.where(varies, centred.pow(3).mean(dim=0) / spread.clamp_min(1e-300).pow(3), 0.0)
    return found


def _shares(modes: GroupModes) -> list[float]:
    trace = modes.trace if math.isfinite(modes.trace) and modes.trace > 0 else float(modes.values.sum())
    return [float(value) / trace for value in modes.values]


def _similar(joined: Families) -> Arrays:
    """modes.similar (s, 2), places of two modes among all, and modes.similarity (s,), their cosine, closest first."""
    pairs = [(place, other, cosine) for place, all_of in enumerate(joined.similar) for other, cosine in all_of]
    return {
        "modes.similar": torch.tensor([pair[:2] for pair in pairs], dtype=torch.int64).reshape(-1, 2),
        "modes.similarity": torch.tensor([pair[2] for pair in pairs], dtype=torch.float64),
    }


def _table(name: str, columns: dict[str, Column]) -> Findings:
    arrays, words = table_parts(name, columns)
    return Findings(arrays=arrays, words=words)


def _modes_table(
    groups: Mapping[str, GroupModes],
    places: Sequence[Place],
    shares: Sequence[float],
    joined: Families,
    facts: Sequence[Fact],
    found: Enrichment | None,
) -> dict[str, Column]:
    names = [f"{group} {mode}" for group, mode in places]
    return {
        "group": [group for group, _ in places],
        "mode": [mode for _, mode in places],
        "share": list(shares),
        **_kernel_columns(list(groups.values()), places),
        "family": [names[at] for at in joined.representative],
        "members": [joined.representative.count(at) for at in joined.representative],
        **_explained(len(places), facts, found),
    }


def _kernel_columns(groups: Sequence[GroupModes], places: Sequence[Place]) -> dict[str, Column]:
    """The columns value, residual, mean, skew and unresolved."""
    unresolved = {(each.group, mode) for each in groups for first, last in each.unresolved
                  for mode in range(first, last + 1)}  # fmt: skip
    return {
        "value": torch.cat([each.values for each in groups]).tolist(),
        "residual": torch.cat([each.residuals for each in groups]).tolist(),
        "mean": torch.cat([each.vectors.mean(dim=0) for each in groups]).tolist(),
        "skew": torch.cat([skewness(each.vectors) for each in groups]).tolist(),
        "unresolved": [int(place in unresolved) for place in places],
    }


def _explained(count: int, facts: Sequence[Fact], found: Enrichment | None) -> dict[str, Column]:
    """The columns explained_by, source, metric, score and p_corrected of the modes."""
    names = ("explained_by", "source", "metric", "score", "p_corrected")
    nan = float("nan")
    if found is None:
        rows = [("", "", "", nan, nan)] * count
    else:
        rows = [_explanation(found, facts, place) for place in range(count)]
    return dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))


def _explanation(found: Enrichment, facts: Sequence[Fact], place: int) -> tuple[str, str, str, float, float]:
    """The fact that is best on the choosing half, if the other half confirms it."""
    best = int(found.merit[place].argmax())
    p = float(found.corrected[place, best])
    if p > LEVEL:
        return "", "", "", float("nan"), p
    return facts[best].name, facts[best].source, _metric(facts[best]), _score(found, facts, place, best), p


def _metric(fact: Fact) -> str:
    return "auroc" if fact.binary else "rank correlation"


def _score(found: Enrichment, facts: Sequence[Fact], place: int, fact: int) -> float:
    strength = float(found.strength[place, fact])
    return (1 + strength) / 2 if facts[fact].binary else strength


def _explanations(places: Sequence[Place], facts: Sequence[Fact], found: Enrichment) -> dict[str, Column]:
    listed = [
        (place, fact)
        for place in range(len(places))
        for fact in (-found.merit[place]).argsort(stable=True)[:_LISTED].tolist()
    ]

    def column(of: Tensor) -> list[float]:
        return [float(of[place, fact]) for place, fact in listed]

    return {
        "group": [places[place][0] for place, _ in listed],
        "mode": [places[place][1] for place, _ in listed],
        "fact": [facts[fact].name for _, fact in listed],
        "source": [facts[fact].source for _, fact in listed],
        "sign": [int(found.sign[place, fact]) for place, fact in listed],
        "metric": [_metric(facts[fact]) for _, fact in listed],
        "score": [_score(found, facts, place, fact) for place, fact in listed],
        "p": column(found.p),
        "end": ["highest" if end > 0 else "lowest" for end in column(found.end)],
        "quarter": [QUARTERS[int(quarter)] for quarter in column(found.quarter)],
        "extremes": column(found.share),
        "base": column(found.base),
        "p_extremes": column(found.p_extremes),
        "p_corrected": column(found.corrected),
    }


def _strengths(groups: Mapping[str, GroupModes], found: Enrichment, facts: Sequence[Fact]) -> Findings:
    stored = {
        "strength": found.strength, "merit": found.merit, "p": found.p, "p_corrected": found.corrected,
        "sign": found.sign, "end": found.end, "quarter": found.quarter, "share": found.share, "base": found.base,
    }  # fmt: skip
    arrays: Arrays = {}
    start = 0
    for name, each in groups.items():
        rows = slice(start, start + each.count)
        arrays |= {f"modes.{name}.{part}": values[rows].to(torch.float64) for part, values in stored.items()}
        start += each.count
    arrays["facts.extremes"] = torch.tensor(found.extremes)
    words = {
        "facts.names": tuple(fact.name for fact in facts),
        "facts.kinds": tuple("binary" if fact.binary else "real" for fact in facts),
        "facts.sources": tuple(fact.source for fact in facts),
    }
    return Findings(arrays=arrays, words=words)


def _notes(shown: Shown | None, facts: Sequence[Fact], joined: Families) -> tuple[str, ...]:
    notes = [f"modes of different groups whose |cosine| is above {joined.bound:.2f} are one family"]
    if not facts:
        notes.append("discovery: no fact about the inputs is at hand to explain modes by")
    if shown is None:
        notes.append("inputs are named by their number: show= says how to show them")
    return tuple(notes)
