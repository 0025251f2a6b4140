"""The feature cards of a run as plain data, which JSON can hold."""

import json
from dataclasses import asdict, dataclass

from tangentlens.report.cards.packed import Packed


@dataclass(frozen=True)
class Tokens:
    """Tokens whose logits a direction moves most, and by how much: (L, k, m) each, places in the deck's tokens."""

    places: Packed
    logits: Packed


@dataclass(frozen=True)
class Examples:
    """The windows of every card, the highest scores first, then the lowest.

    Attributes:
        windows: (L, k, E) places among the deck's windows.
        scores: (L, k, E).
        shares: (L, k, E, T) each token's signed part of the score, in steps; None where it was not stored.
        steps: (L, k, E) the size of a step.
    """

    windows: Packed
    scores: Packed
    shares: Packed | None
    steps: Packed | None


@dataclass(frozen=True)
class Windows:
    """The windows that any card shows.

    Attributes:
        number: place of each in the run.
        tokens: (n, T) places in the deck's tokens; None where texts are left out.
        words: the word that the model writes next; None where texts are left out.
        classes: universal part of speech of that word; None where it was not stored.
        stories: number of its story; None where it was not stored.
    """

    number: tuple[int, ...]
    tokens: Packed | None
    words: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    stories: tuple[int, ...] | None


@dataclass(frozen=True)
class Histogram:
    """Windows by class and score: (L, k, classes, bins) counts between (L, k, 2) edges."""

    classes: tuple[str, ...]
    counts: Packed
    edges: Packed


@dataclass(frozen=True)
class Alike:
    """The most similar modes of other layers: (L, k, n) places, layer * k + mode, and signed similarities."""

    modes: Packed
    similarity: Packed


@dataclass(frozen=True)
class Labels:
    """Scores of every mode for each label, (L, k, labels) each; None where not stored.

    Attributes:
        names: of the labels.
        sign: 1 where high scores go with the label, -1 where low ones do.
        auroc, low, high: on the test half, with its interval.
        average_precision: on the test half.
        p: corrected p-value.
    """

    names: tuple[str, ...]
    sign: Packed | None
    auroc: Packed
    low: Packed | None
    high: Packed | None
    average_precision: Packed | None
    p: Packed | None


@dataclass(frozen=True)
class Inputs:
    """The inputs of any model that any card shows.

    Attributes:
        kind: "image", "text", "table" or "series"; "" where they are shown by their number.
        number: place of each in the run.
        label: what `classes` are of; "" without classes.
        classes: class of each.
        pictures: data: addresses.
        texts: strings.
        columns: names of the columns of rows.
        rows: (n, w).
        lines: (n, T, c).
    """

    kind: str
    number: tuple[int, ...]
    label: str = ""
    classes: tuple[str, ...] | None = None
    pictures: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    rows: Packed | None = None
    lines: Packed | None = None


@dataclass(frozen=True)
class Facts:
    """How every mode goes with every fact about the inputs, (L, k, F) each.

    Attributes:
        names, kinds, sources: of the facts; a kind is "binary" or "real".
        extremes: inputs at each end that are counted.
        strength: 2 AUROC - 1, or the rank correlation, on the scoring half in the direction chosen on the other.
        merit: the strength on the choosing half less two standard errors; facts are ordered by it.
        sign: of the direction.
        p: corrected.
        end: 1 for the highest scores, -1 for the lowest.
        quarter: of a number that is counted: 1 lowest, 2 highest.
        share: of the extremes that have the fact.
        base: of all inputs.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    sources: tuple[str, ...]
    extremes: int
    strength: Packed
    merit: Packed
    sign: Packed
    p: Packed
    end: Packed
    quarter: Packed
    share: Packed
    base: Packed


@dataclass(frozen=True)
class Found:
    """A feature whose best mode of a group this is.

    Attributes:
        feature: its name.
        score: with its metric, as words.
        interval: 95 %, as words.
        p: corrected; None where it was not tested.
        verdicts: to the questions whether it is aligned, learned, used.
    """

    feature: str
    score: str
    interval: str
    p: float | None
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class General:
    """What the cards of any model hold besides; a mode's place is its number among those of all groups in a row.

    Attributes:
        links: of each group; card n of it is #<link>-<n>.
        counts: number of modes of each group.
        share, mean, skew: (L, k).
        unresolved: (L, k) 1 where only a space with its neighbours is known.
        similar: for each place, (place, cosine) of similar modes of other groups.
        family: for each place, that of its family's representative.
        found: for each place, the features whose best mode it is.
        inputs: what is shown of them.
        facts: tested for every mode; None where there are none.
    """

    links: tuple[str, ...]
    counts: tuple[int, ...]
    share: Packed
    mean: Packed
    skew: Packed
    unresolved: Packed
    similar: tuple[tuple[tuple[int, float], ...], ...]
    family: tuple[int, ...]
    found: tuple[tuple[Found, ...], ...]
    inputs: Inputs
    facts: Facts | None


@dataclass(frozen=True)
class Deck:
    """All cards of one geometry; what a run does not hold is None.

    Attributes:
        schema: version of this layout.
        geometry: in words.
        groups: L names.
        layers: L short names, used in links: #mode-<layer>-<mode>.
        modes: k.
        tokens: texts that the other parts point into.
        values: (L, k) eigenvalues.
        residuals: (L, k) estimated relative residuals.
        residual_errors: (L, k) their standard errors.
        converged: (L, k) 0 or 1.
        energy: (L, k) share of the mode's energy in its output direction.
        effect: (L, k) causal effect, NaN where it was not measured.
        general: what the cards of any other model hold; None for a language model.
        explained: (L * k,) the fact that a mode goes with, in words, "" where there is none; None where not asked.
        classes_of: what the classes of the histogram are of.
        labels, raised, lowered, histogram, windows, examples, similar_scores, similar_directions: see their classes.
    """

    schema: int
    geometry: str
    groups: tuple[str, ...]
    layers: tuple[str, ...]
    modes: int
    tokens: tuple[str, ...]
    values: Packed
    residuals: Packed | None
    residual_errors: Packed | None
    converged: Packed | None
    energy: Packed | None
    effect: Packed | None
    labels: Labels | None
    raised: Tokens | None
    lowered: Tokens | None
    histogram: Histogram | None
    windows: Windows | None
    examples: Examples | None
    similar_scores: Alike | None
    similar_directions: Alike | None
    general: General | None = None
    explained: tuple[str, ...] | None = None
    classes_of: str = "part of speech of the next word"


def deck_json(deck: Deck) -> str:
    """The deck as JSON, in ASCII."""
    return json.dumps(asdict(deck), allow_nan=False, separators=(",", ":"))
