"""Grammar of the next word as indicator features over the windows, with the selection of testable ones.

The selection rules are the paper's (arXiv 2510.00468, its third setting): a label needs enough windows, several
different words, and no word that makes up most of it, else a mode could find the word and not the label.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from tangentlens.errors import InvalidInputError


@dataclass(frozen=True)
class Labels:
    """Named yes-or-no labels of N windows.

    Attributes:
        names: one for each column: "NOUN", "Number=Sing".
        matrix: (N, L) whether the window has the label.
    """

    names: tuple[str, ...]
    matrix: Bool[Tensor, "N L"]

    def column(self, name: str) -> Bool[Tensor, " N"]:
        """The windows that have one label.

        Raises:
            InvalidInputError: there is no such label.
        """
        if name not in self.names:
            raise InvalidInputError(f"no label {name!r}", where="labels", remedy=f"There are {self.names}.")
        return self.matrix[:, self.names.index(name)]

    def restrict(self, names: Sequence[str]) -> "Labels":
        """These labels alone, in the order given.

        Raises:
            InvalidInputError: one of them does not exist.
        """
        columns = [self.column(name) for name in names]
        return Labels(tuple(names), torch.stack(columns, dim=1) if columns else self.matrix[:, :0])


@dataclass(frozen=True)
class Selection:
    """Which labels can be tested.

    Attributes:
        labels: those that can.
        refused: the others -> why not.
    """

    labels: Labels
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Repetition:
    """Two labels on almost the same windows: |A and B| / |A or B| is `jaccard`."""

    first: str
    second: str
    jaccard: float


@dataclass(frozen=True)
class PosTwin:
    """A label that almost is a part of speech.

    Attributes:
        label: the label.
        pos: the part of speech.
        purity: share of the label's windows that have the part of speech.
        coverage: share of the part of speech's windows that have the label.
    """

    label: str
    pos: str
    purity: float
    coverage: float


def pos_labels(pos: Sequence[str], names: Sequence[str] | None = None) -> Labels:
    """One-hot parts of speech: a column for each name, for each that occurs, sorted, where `names` is None."""
    columns = tuple(sorted(set(pos)) if names is None else names)
    return _labels(columns, [[one == name for name in columns] for one in pos])


def morphology_labels(morphology: Sequence[Mapping[str, str]]) -> Labels:
    """A column for each feature and value that occurs, such as "Number=Sing", sorted.

    A word with several values of a feature ("PronType=Int,Rel") has each of them.
    """
    rows = [_pairs(features) for features in morphology]
    columns = tuple(sorted(set().union(*rows)))
    return Labels(
        columns, torch.tensor([[name in row for name in columns] for row in rows]).bool().reshape(len(rows), -1)
    )


def select_labels(
    labels: Labels, words: Sequence[str], *, support: int = 30, distinct: int = 12, largest_share: float = 0.5
) -> Selection:
    """The labels that can be tested.

    Args:
        labels: all labels, N rows.
        words: the N next words; upper and lower case count as the same.
        support: a label needs that many windows.
        distinct: and that many different words among them.
        largest_share: no word may make up more than this share of them.

    Raises:
        InvalidInputError: the numbers of rows and words differ.
    """
    if len(words) != len(labels.matrix):
        raise InvalidInputError(
            f"{len(words)} words for {len(labels.matrix)} rows of labels", where="words", remedy="Give one a row."
        )
    refused = {}
    for name in labels.names:
        counts = Counter(words[row].casefold() for row in labels.column(name).nonzero().flatten().tolist())
        if reason := _objection(counts, support, distinct, largest_share):
            refused[name] = reason
    return Selection(labels.restrict([name for name in labels.names if name not in refused]), refused)


def repetitions(labels: Labels, threshold: float = 0.9) -> tuple[Repetition, ...]:
    """The pairs of labels whose Jaccard index is at least `threshold`."""
    x = labels.matrix.to(torch.float64)
    both = x.T @ x
    sizes = both.diagonal()
    jaccard = both / (sizes[:, None] + sizes[None, :] - both)  # NaN where neither occurs
    pairs = (jaccard.triu(diagonal=1) >= threshold).nonzero().tolist()
    return tuple(Repetition(labels.names[i], labels.names[j], float(jaccard[i, j])) for i, j in pairs)


def pos_twins(labels: Labels, pos: Labels, threshold: float = 0.9) -> tuple[PosTwin, ...]:
    """The labels whose purity and coverage for a part of speech are both at least `threshold`."""
    x, y = labels.matrix.to(torch.float64), pos.matrix.to(torch.float64)
    both = x.T @ y
    purity, coverage = both / x.sum(dim=0)[:, None], both / y.sum(dim=0)[None, :]
    pairs = ((purity >= threshold) & (coverage >= threshold)).nonzero().tolist()
    return tuple(PosTwin(labels.names[i], pos.names[j], float(purity[i, j]), float(coverage[i, j])) for i, j in pairs)


def _labels(names: tuple[str, ...], rows: list[list[bool]]) -> Labels:
    return Labels(names, torch.tensor(rows, dtype=torch.bool).reshape(len(rows), len(names)))


def _pairs(features: Mapping[str, str]) -> set[str]:
    return {f"{feature}={value}" for feature, values in features.items() for value in values.split(",")}


def _objection(counts: Counter[str], support: int, distinct: int, largest_share: float) -> str:
    """Why a label with these words cannot be tested; empty where it can."""
    total = counts.total()
    if total < support:
        return f"{total} windows, fewer than {support}"
    if len(counts) < distinct:
        return f"{len(counts)} different words, fewer than {distinct}"
    word, most = counts.most_common(1)[0]
    return (
        f"{word!r} is {most} of {total} windows, more than {largest_share:g} of them"
        if most > largest_share * total
        else ""
    )
