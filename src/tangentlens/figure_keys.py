"""Keys of results.json: built from typed parts, and parsed back into them; nobody spells one of these by hand.

A key is an interface: what is stored under it stays readable. Where a part may itself hold dots (names of parameter
groups, of labels, of methods such as pca.best_layer) its name is in `_DOTTED`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeVar

T = TypeVar("T")
Key = TypeVar("Key", bound="FigureKey")

ONSET, PEAK, LAG = "grokking.onset_epoch", "grokking.overlap_peak_epoch", "grokking.onset_minus_peak_epochs"
WORST_RESIDUAL = "eigenpairs.worst_residual"
GROUP_CHANCE = "overlap.group.chance.percent"
BASELINE = "pca"  # the method that a language model's kernels are compared with

_DOTTED = {"group", "label", "method", "block", "statistic"}
_STATISTIC_UNITS = {"change": "ratio", "unpredicted": "ratio", "loss_change": "loss", "divergence": "nats"}


@dataclass(frozen=True)
class FigureKey:
    """A key: `str` builds it, `parse` and `among` take it apart.

    Attributes:
        form: the key with its parts in braces.
        unit: of the figures that have such a key.
    """

    form: ClassVar[str]
    unit: ClassVar[str] = "ratio"

    def __str__(self) -> str:
        return self.form.format(**vars(self))

    @classmethod
    def parse(cls: type[Key], key: str) -> Key | None:
        """The parts of a key; None where it is another kind of key."""
        found = _pattern(cls.form).fullmatch(key)
        return cls(**found.groupdict()) if found else None

    @classmethod
    def among(cls: type[Key], figures: Mapping[str, T]) -> dict[Key, T]:
        """The figures that have such a key, by its parts, in their order."""
        parsed = ((cls.parse(key), figure) for key, figure in figures.items())
        return {key: figure for key, figure in parsed if key is not None}


@cache
def _pattern(form: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", form)
    named = [f"(?P<{name}>{'.+' if name in _DOTTED else '[^.]+'})" for name in parts[1::2]]
    fixed = [re.escape(text) for text in parts[::2]]
    return re.compile("".join(text + name for text, name in zip(fixed, [*named, ""], strict=True)))


@dataclass(frozen=True)
class Overlap(FigureKey):
    """Percent of a family inside a block of modes."""

    form, unit = "overlap.{block}.percent", "percent"
    block: str


@dataclass(frozen=True)
class SmallestCosine(FigureKey):
    """Smallest singular value between a block of modes and a family."""

    form = "overlap.{block}.smallest_singular_value"
    block: str


@dataclass(frozen=True)
class GroupOverlap(FigureKey):
    """Percent of a family inside the leading modes of one parameter group's own kernel."""

    form, unit = "overlap.group.{group}.{family}.percent", "percent"
    group: str
    family: str


@dataclass(frozen=True)
class NullOverlap(FigureKey):
    """The same percent under a null model."""

    form, unit = "null.{null}.overlap.{name}.percent", "percent"
    null: str
    name: str


@dataclass(frozen=True)
class NullQuantile(FigureKey):
    """95 % quantile of that percent."""

    form, unit = "null.{null}.overlap.{name}.percent.quantile95", "percent"
    null: str
    name: str


@dataclass(frozen=True)
class NullAccuracy(FigureKey):
    """Train accuracy of a null model."""

    form, unit = "null.{null}.train.accuracy", "percent"
    null: str


@dataclass(frozen=True)
class Ablation(FigureKey):
    """What taking a block of modes out of a space (functions, directions, parameters, ablate) does."""

    form = "causal.{subject}.{space}.{part}.{statistic}"
    subject: str
    space: str
    part: str
    statistic: str

    @property
    def statistic_unit(self) -> str:
        """Unit of the statistic: accuracies and what is kept or removed are percentages."""
        return _STATISTIC_UNITS.get(self.statistic, "percent")


@dataclass(frozen=True)
class WordDrop(FigureKey):
    """Mean drop of a word's probability once a label's direction is ablated, of its own words or the others."""

    form, unit = "causal.language.ablate.{label}.{source}.{side}", "percent"
    label: str
    source: str
    side: str


@dataclass(frozen=True)
class Selectivity(FigureKey):
    """Own less other drops, the mean over labels: `selectivity`, or less those of a control: `over_<control>`."""

    form, unit = "causal.language.ablate.macro.{source}.{against}", "percent"
    source: str
    against: str


@dataclass(frozen=True)
class SelectivityP(FigureKey):
    """p of such a comparison."""

    form, unit = "p_ablate.{source}.{against}", "probability"
    source: str
    against: str


@dataclass(frozen=True)
class Move(FigureKey):
    """What moves at a site do: `change`, `unpredicted`, or `sensitivity_ratio` of two names."""

    form = "settle.{site}.{quantity}.{name}"
    site: str
    quantity: str
    name: str


@dataclass(frozen=True)
class FirstMove(FigureKey):
    """The same ratio at the first site."""

    form = "settle.sensitivity_ratio.{name}"
    name: str


@dataclass(frozen=True)
class Ranked(FigureKey):
    """Percent of a family inside as many functions of a method as the kernel has modes."""

    form, unit = "leaderboard.{method}.{family}.percent", "percent"
    method: str
    family: str


@dataclass(frozen=True)
class RankedDimension(FigureKey):
    """How many functions a method gave."""

    form, unit = "leaderboard.{method}.dimension", "count"
    method: str


@dataclass(frozen=True)
class RankedSeconds(FigureKey):
    """What they cost."""

    form, unit = "leaderboard.{method}.seconds", "seconds"
    method: str


@dataclass(frozen=True)
class Macro(FigureKey):
    """A measure, the mean over the labels of a family."""

    form = "{measure}.{family}.macro.{source}"
    measure: str
    family: str
    source: str


@dataclass(frozen=True)
class MacroKind(FigureKey):
    """Such a mean of another kind: `lead` over the baseline, `best_over_layers`, `paper_layer`."""

    form = "{measure}.{family}.macro.{kind}.{source}"
    measure: str
    family: str
    kind: str
    source: str


@dataclass(frozen=True)
class LabelScore(FigureKey):
    """A measure, or a p, of one label."""

    form = "{measure}.{family}.label.{label}.{source}"
    measure: str
    family: str
    label: str
    source: str


@dataclass(frozen=True)
class MacroLeadP(FigureKey):
    """p of the lead over the baseline."""

    form, unit = "p_lead.{measure}.{family}.macro.{source}", "probability"
    measure: str
    family: str
    source: str


@dataclass(frozen=True)
class LabelLeadP(FigureKey):
    """p of one label's lead over the baseline."""

    form, unit = "p_lead.{measure}.{family}.label.{label}.{source}", "probability"
    measure: str
    family: str
    label: str
    source: str


@dataclass(frozen=True)
class Linearised(FigureKey):
    """The linearised predictor around a point beside the network."""

    form = "linearised.{point}.{score}"
    point: str
    score: str


@dataclass(frozen=True)
class ClaimPart(FigureKey):
    """A part of the evidence on a claim."""

    form = "claim.{name}.{part}"
    name: str
    part: str


def method_of(geometry: str) -> str:
    """What keys call the modes of a geometry; the baseline and the paper's geometry have plain names."""
    return {BASELINE: BASELINE, "raw": "entk"}.get(geometry, f"entk_{geometry}")


def geometry_of(method: str) -> str:
    """What arrays call a method: the inverse of `method_of`."""
    return "raw" if method == "entk" else method.removeprefix("entk_")


def family_of(stored: str) -> str:
    """What keys call a family of labels whose full name a run stores."""
    return {"morphology": "morph"}.get(stored, stored)
