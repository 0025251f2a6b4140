"""The three questions about every feature: is it aligned with modes, was that learned, is it used? One rule for all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tangentlens.analysis.alignment import Alignment
from tangentlens.analysis.learned import Difference
from tangentlens.analysis.used import Use
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
    difference from untrained networks, and it is aligned. used: so do those of the intervention's effect beyond its
    controls. "does not hold" where the interval lies on the other side, "undecided" otherwise, "not done" where
    something was not given.
    """
    p_aligned = holm_of_known([each.p for each in alignments])
    p_learned = holm_of_known([math.nan if each is None else each.p for each in differences])
    p_used = holm_of_known([math.nan if each is None or each.confounded else each.p for each in uses])
    table = []
    for alignment, difference, use, p_a, p_l, p_u in zip(
        alignments, differences, uses, p_aligned, p_learned, p_used, strict=True
    ):
        aligned = _answer(alignment.low - alignment.chance, alignment.high - alignment.chance, p_a)
        table.append(
            Row(
                alignment, p_a, difference, use, aligned,
                "not done" if difference is None else _learned(aligned, _answer(difference.low, difference.high, p_l)),
                _used(use, p_u),
            )
        )  # fmt: skip
    return tuple(table)


def _learned(aligned: Answer, beyond: Answer) -> Answer:
    """Nothing is learned that is not there."""
    return beyond if aligned == "holds" or beyond != "holds" else aligned


def _used(use: Use | None, p: float) -> Answer:
    if use is None:
        return "not done"
    return "undecided" if use.confounded else _answer(use.low, use.high, p)


def _answer(low: float, high: float, p: float) -> Answer:
    return verdict(Figure((low + high) / 2, (low, high)), p)
