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


def deck_json(deck: Deck) -> str:
    """The deck as JSON, in ASCII."""
    return json.dumps(asdict(deck), allow_nan=False, separators=(",", ":"))
