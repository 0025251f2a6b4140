"""Keys of results.json: built from typed parts, and parsed back into them; nobody spells one of these by hand.

A key is an interface: what is stored under it stays readable. Where a part may itself hold dots (names of parameter
groups, of labels, of methods such as pca.best_layer) its name is in `_DOTTED`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")
Key = TypeVar("Key", bound="FigureKey")

ONSET, PEAK, LAG = "grokking.onset_epoch", "grokking.overlap_peak_epoch", "grokking.onset_minus_peak_epochs"
WORST_RESIDUAL = "eigenpairs.worst_residual"
GROUP_CHANCE = "overlap.group.chance.percent"
BASELINE = "pca"  # the method that a language model's kernels are compared with

_DOTTED = {"group", "label", "method", "block", "statistic", "measure"}
# of the figures whose key ends in one of these, whatever its kind
_UNITS = {
    "dimension": "count", "seconds": "seconds", "loss_change": "loss", "divergence": "nats", "change": "ratio",
    "unpredicted": "ratio",
}  # fmt: skip


@dataclass_transform(frozen_default=True)
class FigureKey:
    """A kind of key, a frozen dataclass of its parts: `str` builds it, `parse` and `among` take it apart.

    Attributes:
        form: the key with its parts in braces.
        usual: unit of most figures of the kind.
    """

    form: ClassVar[str]
    usual: ClassVar[str] = "ratio"

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)

    def __str__(self) -> str:
        return self.form.format(**vars(self))

    @property
    def unit(self) -> str:
        """Unit of the figure: a probability where the key begins as a p, else by its end, else the kind's usual one."""
        key = str(self)
        probability = re.match(r"p(_[a-z]+)?\.", key)
        return "probability" if probability else _UNITS.get(key.rpartition(".")[2], self.usual)

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


class Overlap(FigureKey):
    """Percent of a family inside a block of modes."""

    form, usual = "overlap.{block}.percent", "percent"
    block: str


class SmallestCosine(FigureKey):
    """Smallest singular value between a block of modes and a family."""

    form = "overlap.{block}.smallest_singular_value"
    block: str


class GroupOverlap(FigureKey):
    """Percent of a family inside the leading modes of one parameter group's own kernel."""

    form, usual = "overlap.group.{group}.{family}.percent", "percent"
    group: str
    family: str


class NullOverlap(FigureKey):
    """The same percent under a null model."""

    form, usual = "null.{null}.overlap.{name}.percent", "percent"
    null: str
    name: str


class NullQuantile(FigureKey):
    """95 % quantile of that percent."""

    form, usual = "null.{null}.overlap.{name}.percent.quantile95", "percent"
    null: str
    name: str


class NullAccuracy(FigureKey):
    """Train accuracy of a null model."""

    form, usual = "null.{null}.train.accuracy", "percent"
    null: str


class Ablation(FigureKey):
    """What taking a block of modes out of a space (functions, directions, parameters, ablate) does."""

    form, usual = "causal.{subject}.{space}.{part}.{statistic}", "percent"
    subject: str
    space: str
    part: str
    statistic: str


class WordDrop(FigureKey):
    """Mean drop of a word's probability once a label's direction is ablated, of its own words or the others."""

    form, usual = "causal.language.ablate.{label}.{source}.{side}", "percent"
    label: str
    source: str
    side: str


class Selectivity(FigureKey):
    """Own less other drops, the mean over labels: `selectivity`, or less those of a control: `over_<control>`."""

    form, usual = "causal.language.ablate.macro.{source}.{against}", "percent"
    source: str
    against: str


class SelectivityP(FigureKey):
    """p of such a comparison."""

    form = "p_ablate.{source}.{against}"
    source: str
    against: str


class Move(FigureKey):
    """What moves at a site do: `change`, `unpredicted`, or `sensitivity_ratio` of two names."""

    form = "settle.{site}.{quantity}.{name}"
    site: str
    quantity: str
    name: str


class FirstMove(FigureKey):
    """The same ratio at the first site."""

    form = "settle.sensitivity_ratio.{name}"
    name: str


class Ranked(FigureKey):
    """Percent of a family inside as many functions of a method as the kernel has modes."""

    form, usual = "leaderboard.{method}.{family}.percent", "percent"
    method: str
    family: str


class RankedCost(FigureKey):
    """Its `dimension`: how many functions it gave; its `seconds`."""

    form = "leaderboard.{method}.{cost}"
    method: str
    cost: str


class Macro(FigureKey):
    """A measure, or p_lead.<measure>, in the mean over the labels of a family."""

    form = "{measure}.{family}.macro.{source}"
    measure: str
    family: str
    source: str


class MacroKind(FigureKey):
    """Such a mean of another kind: `lead` over the baseline, `best_over_layers`, `paper_layer`."""

    form = "{measure}.{family}.macro.{kind}.{source}"
    measure: str
    family: str
    kind: str
    source: str


class LabelScore(FigureKey):
    """A measure, or p, p_family or p_lead.<measure>, of one label."""

    form = "{measure}.{family}.label.{label}.{source}"
    measure: str
    family: str
    label: str
    source: str


class Linearised(FigureKey):
    """The linearised predictor around a point beside the network."""

    form = "linearised.{point}.{score}"
    point: str
    score: str


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


BASELINE_SECONDS = f"{BASELINE}.seconds"


class SweepCost(FigureKey):
    """`seconds` and `products` of the sweep behind a method of a language model."""

    form, usual = "sweep.{source}.{quantity}", "count"
    source: str
    quantity: str


class SweepResidual(FigureKey):
    """A statistic of the relative residuals of a sweep's modes; `compressed.largest`: on the compressed rows."""

    form = "residual.{source}.{statistic}"
    source: str
    statistic: str


class RankOneShare(FigureKey):
    """A statistic of the share of each mode in its first singular direction."""

    form = "rank_one_share.{source}.{statistic}"
    source: str
    statistic: str


class WindowCount(FigureKey):
    """Windows that a method scored."""

    form, usual = "windows.{source}.count", "count"
    source: str


class ChoiceScore(FigureKey):
    """Macro AUROC of one way to score modes, on the half `validation` of the train half or on the half `test`."""

    form = "choice.{geometry}.{weights}.{scoring}.{half}"
    geometry: str
    weights: str
    scoring: str
    half: str


class BestChoice(FigureKey):
    """The same of the way that is best on the validation half."""

    form = "choice.best.{half}"
    half: str


class GlobalP(FigureKey):
    """p of the largest statistic over all labels of a method."""

    form = "p_global.{source}"
    source: str


class NullMacro(FigureKey):
    """Mean of a measure under permuted labels, over the labels of the first family."""

    form = "null.{measure}.macro.{source}"
    measure: str
    source: str


class LeadP(FigureKey):
    """p of a method's lead over the baseline in such a mean."""

    form = "p_lead.{measure}.{family}.macro.{source}"
    measure: str
    family: str
    source: str


class LabelLeadP(FigureKey):
    """p of its lead for one label."""

    form = "p_lead.{measure}.{family}.label.{label}.{source}"
    measure: str
    family: str
    label: str
    source: str


def stored_family(family: str) -> str:
    """The full name that a run stores for a family of labels: the inverse of `family_of`."""
    return {"morph": "morphology"}.get(family, family)
