"""The three questions about every feature: is it aligned with modes, was that learned, is it used? One rule for all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tangentlens.analysis.questions.alignment import Alignment
from tangentlens.analysis.questions.learned import Difference
from tangentlens.analysis.questions.used import Use
from tangentlens.records import Figure
from tangentlens.statistics.claims import verdict
from tangentlens.statistics.corrections import holm_of_known

Answer = Literal["holds", "does not hold", "undecided", "not done"]


@dataclass(frozen=True)
class Row:
    """One feature in one group, with the three verdicts.

    Attributes:
        alignment: score, interval, p.
        p_corrected: of the alignment, by Holm over all rows.
        difference: to untrained networks; None where there are none.
        use: effect of the intervention; None where it was not made.
        aligned, learned, used: verdicts.
    """

    alignment: Alignment
    p_corrected: float
    difference: Difference | None
    use: Use | None
    aligned: Answer
    learned: Answer
    used: Answer


def rows(
    alignments: Sequence[Alignment], differences: Sequence[Difference | None], uses: Sequence[Use | None]
) -> tuple[Row, ...]:
    """The table: every p is corrected by Holm within its own question.

    aligned: the score's interval lies above chance and its corrected p is at most 0.05. learned: so do those of the
    difference from untrained networks, and it is aligned there. used: so do those of the intervention's effect beyond
    its controls, and it is aligned in some group. So all three hold of a feature that has nothing to do with the inputs
    only where "aligned" does, in 5 % of all tables at most. "does not hold" where the interval lies on the other side,
    "undecided" otherwise, "not done" where something was not given.
    """
    p_aligned = holm_of_known([each.p for each in alignments])
    p_learned = holm_of_known([math.nan if each is None else each.p for each in differences])
    p_used = holm_of_known([math.nan if each is None or each.confounded else each.p for each in uses])
    aligned = [
        _answer(each.low - each.chance, each.high - each.chance, p)
        for each, p in zip(alignments, p_aligned, strict=True)
    ]
    held = {each.feature for each, answer in zip(alignments, aligned, strict=True) if answer == "holds"}
    learned = [
        "not done" if each is None else _of_aligned(answer, _answer(each.low, each.high, p))
        for each, answer, p in zip(differences, aligned, p_learned, strict=True)
    ]
    used = [
        _of_aligned("holds" if each.feature in held else "undecided", _used(use, p))
        for each, use, p in zip(alignments, uses, p_used, strict=True)
    ]
    return tuple(map(Row, alignments, p_aligned, differences, uses, aligned, learned, used))


def _of_aligned(aligned: Answer, beyond: Answer) -> Answer:
    """Nothing is learned or used that is not there."""
    return aligned if beyond == "holds" else beyond


def _used(use: Use | None, p: float) -> Answer:
    if use is None:
        return "not done"
    return "undecided" if use.confounded else _answer(use.low, use.high, p)


def _answer(low: float, high: float, p: float) -> Answer:
    return verdict(Figure((low + high) / 2, (low, high)), p)
