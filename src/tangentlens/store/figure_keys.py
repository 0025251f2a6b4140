"""Keys of results.json: built from typed parts, and parsed back into them; nobody spells one of these by hand.

A key is an interface: what is stored under it stays readable. A kind of key is a class with the form of its keys; a
single figure that no kind builds is a `Name`.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound="FigureKey")

# methods: leading modes of the kernel; principal components, a language model's baseline; random functions
MODES, BASELINE, RANDOM = "entk", "pca", "random"
BEST_LAYER = "pca.best_layer"  # principal components of the layer that the train rows pick

# parts that may themselves hold dots: names of parameter groups, of labels, of methods such as pca.best_layer
_DOTTED = {"group", "label", "method", "block", "statistic", "measure", "figure"}
# of the figures whose key ends in one of these, whatever its kind
_UNITS = {
    "dimension": "count", "count": "count", "seconds": "seconds", "percent": "percent", "loss_change": "loss",
    "divergence": "nats", "change": "ratio", "unpredicted": "ratio", "accuracy_gap": "percent", "at_features": "share",
}  # fmt: skip


class Name(str):
    """The whole key of one figure.

    Attributes:
        unit: of the figure.
    """

    unit: str

    def __new__(cls, key: str, unit: str) -> "Name":
        """Name a figure by its key."""
        name = super().__new__(cls, key)
        name.unit = unit
        return name

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # str has its text alone
        """Text and unit, for copies and pickles."""
        return str(self), self.unit


class FigureKey:
    """A key by its parts, which are its attributes: `str` builds it, `parse` and `among` take it apart.

    Attributes:
        form: the key with its parts in braces.
        usual: unit of most figures of the kind.

    Raises:
        TypeError: not one string for each part of the form.
    """

    form: ClassVar[str]
    usual: ClassVar[str] = "ratio"

    def __init__(self, *values: str, **named: str) -> None:
        parts = dict(zip(self.parts(), values, strict=False), **named)
        if len(values) + len(named) != len(parts) or list(parts) != list(self.parts()):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.parts())}, not {values} and {named}")
        vars(self).update(parts)

    @classmethod
    def parts(cls) -> tuple[str, ...]:
        """Names of the parts, in order."""
        return tuple(re.findall(r"\{(\w+)\}", cls.form))

    def __getattr__(self, part: str) -> str:
        """A part by its name; one that the form lacks is an error."""
        raise AttributeError(f"{type(self).__name__} has the parts {', '.join(self.parts())}, not {part!r}")

    def __setattr__(self, part: str, value: Any) -> None:
        raise AttributeError(f"{part} of a key cannot be changed")

    def __str__(self) -> str:
        return self.form.format(**vars(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, vars(self).values()))})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), str(self)))

    @property
    def unit(self) -> str:
        """Unit of the figure: a probability where the key begins as a p, else by its end, else the kind's usual one."""
        key = str(self)
        probability = re.match(r"p(_[a-z]+)?\.", key)
        return "probability" if probability else _UNITS.get(key.rpartition(".")[2], self.usual)

    @classmethod
    def parse(cls: type[K], key: str) -> K | None:
        """The parts of a key; None where it is another kind of key."""
        found = _pattern(cls.form).fullmatch(key)
        return cls(**found.groupdict()) if found else None

    @classmethod
    def among(cls: type[K], figures: Mapping[str, T]) -> dict[K, T]:
        """The figures that have such a key, by its parts, in their order."""
        parsed = ((cls.parse(key), figure) for key, figure in figures.items())
        return {key: figure for key, figure in parsed if key is not None}


Key = Name | FigureKey


@cache
def _pattern(form: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", form)
    named = [f"(?P<{name}>{'.+' if name in _DOTTED else '[^.]+'})" for name in parts[1::2]]
    fixed = [re.escape(text) for text in parts[::2]]
    return re.compile("".join(text + name for text, name in zip(fixed, [*named, ""], strict=True)))


# training
TRAIN_ACCURACY = Name("train.accuracy.final", "percent")
TEST_ACCURACY = Name("test.accuracy.final", "percent")
TEST_ACCURACY_AT_PAPER_EPOCH = Name("test.accuracy.at_paper_epoch", "percent")
LEARNED, LEARNED_BY_PAPER_EPOCH = Name("learned.share", "share"), Name("learned.by_paper_epoch", "share")
LAST_EPOCH = Name("training.last_epoch", "epoch")
ONSET, PEAK = Name("grokking.onset_epoch", "epoch"), Name("grokking.overlap_peak_epoch", "epoch")
LAG = Name("grokking.onset_minus_peak_epochs", "epoch")
LAG_DISTANCE = Name("dynamics.onset_peak_distance", "epoch")
NULL_LAG_DISTANCE = Name("null.random_features.onset_peak_distance", "epoch")

# spectra
WORST_RESIDUAL = Name("eigenpairs.worst_residual", "ratio")
FIRST_CLIFF, SECOND_CLIFF = Name("cliffs.first", "mode"), Name("cliffs.second", "mode")
CLIFFS_MATCH_PAPER = Name("cliffs.match_paper", "share")
GROUP_CHANCE = Name("overlap.group.chance.percent", "percent")
FREQUENCIES_AGREE = Name("frequencies.agree", "share")

# wall time
TRAINING_SECONDS, KERNEL_SECONDS = Name("training.seconds", "seconds"), Name("kernel.seconds", "seconds")
EIGEN_SECONDS, DYNAMICS_SECONDS = Name("eigen.seconds", "seconds"), Name("dynamics.seconds", "seconds")


class Overlap(FigureKey):
    """Percent of a family inside a block of modes."""

    form, usual = "overlap.{block}.percent", "percent"


class SmallestCosine(FigureKey):
    """Smallest singular value between a block of modes and a family."""

    form = "overlap.{block}.smallest_singular_value"


class GroupOverlap(FigureKey):
    """Percent of a family inside the leading modes of one parameter group's own kernel."""

    form, usual = "overlap.group.{group}.{family}.percent", "percent"


class NullOverlap(FigureKey):
    """The same percent under a null model."""

    form, usual = "null.{null}.overlap.{name}.percent", "percent"


class NullQuantile(FigureKey):
    """95 % quantile of that percent."""

    form, usual = "null.{null}.overlap.{name}.percent.quantile95", "percent"


class NullAccuracy(FigureKey):
    """Train accuracy of a null model."""

    form, usual = "null.{null}.train.accuracy", "percent"


class Ablation(FigureKey):
    """What taking a block of modes out of a space (functions, directions, parameters, ablate) does."""

    form, usual = "causal.{subject}.{space}.{part}.{statistic}", "percent"


class WordDrop(FigureKey):
    """Mean drop of a word's probability once a label's direction is ablated, of its own words or the others."""

    form, usual = "causal.language.ablate.{label}.{source}.{side}", "percent"


class Selectivity(FigureKey):
    """Own less other drops, the mean over labels: `selectivity`, or less those of a control: `over_<control>`."""

    form, usual = "causal.language.ablate.macro.{source}.{against}", "percent"


class SelectivityP(FigureKey):
    """p of such a comparison."""

    form = "p_ablate.{source}.{against}"


class Move(FigureKey):
    """What moves at a site do: `change`, `unpredicted`, or `sensitivity_ratio` of two names."""

    form = "settle.{site}.{quantity}.{name}"


class FirstMove(FigureKey):
    """The same ratio at the first site."""

    form = "settle.sensitivity_ratio.{name}"


class Ranked(FigureKey):
    """Percent of a family inside as many functions of a method as the kernel has modes."""

    form, usual = "leaderboard.{method}.{family}.percent", "percent"


class RankedCost(FigureKey):
    """Its `dimension`: how many functions it gave; its `seconds`."""

    form = "leaderboard.{method}.{cost}"


class Macro(FigureKey):
    """A measure, or p_lead.<measure>, in the mean over the labels of a family."""

    form = "{measure}.{family}.macro.{source}"


class MacroKind(FigureKey):
    """Such a mean of another kind: `lead` over the baseline, `best_over_layers`, `paper_layer`."""

    form = "{measure}.{family}.macro.{kind}.{source}"


class LabelScore(FigureKey):
    """A measure, or p, p_family or p_lead.<measure>, of one label."""

    form = "{measure}.{family}.label.{label}.{source}"


class Linearised(FigureKey):
    """The linearised predictor around a point beside the network."""

    form = "linearised.{point}.{score}"


class ClaimPart(FigureKey):
    """A part of the evidence on a claim."""

    form = "claim.{name}.{part}"


class Ahead(FigureKey):
    """Epochs by which an overlap is ahead of accuracy (`lead`) or of the test loss (`lead_over_loss`)."""

    form, usual = "dynamics.{over}.{share}", "epoch"


class Frequencies(FigureKey):
    """Number of key frequencies that `kernel` or `embedding` names."""

    form = "frequencies.{source}.count"


class NetworkFigure(FigureKey):
    """A figure of one network of a seed that has several: represented.count, loss.final, training.seconds."""

    form, usual = "{network}.{figure}", "loss"


class KernelFigure(FigureKey):
    """A figure of one kernel of such a network: recovered.count, recovery.<which>.percent, kernel.seconds."""

    form = "{network}.{kernel}.{figure}"


class Rising(FigureKey):
    """Whether counts of a kind (represented, recovered.<kernel>) rise strictly from network to network."""

    form, usual = "order.{figure}", "share"


def method_of(geometry: str) -> str:
    """What keys call the modes of a geometry; the baseline and the paper's geometry have plain names."""
    return {BASELINE: BASELINE, "raw": MODES}.get(geometry, f"entk_{geometry}")


def geometry_of(method: str) -> str:
    """What arrays call a method: the inverse of `method_of`."""
    return "raw" if method == MODES else method.removeprefix("entk_")


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
