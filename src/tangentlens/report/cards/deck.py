"""The feature cards of a run as plain data: a record in, something that JSON can hold out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tangentlens.report.cards.histograms import histograms
from tangentlens.report.cards.neighbours import Neighbours, by_directions, by_scores
from tangentlens.report.cards.packed import Packed, pack, pack_counts, quantise
from tangentlens.report.language_run import LanguageRun, geometry_name
from tangentlens.report.visible_text import visible_token

_MEASURES = ("auroc", "auroc.low", "auroc.high", "average_precision", "p")


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
    """How well every mode's scores find each label, (L, k, labels) each; None where not stored.

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


def build_deck(run: LanguageRun, geometry: str) -> Deck:
    """The cards of one geometry of a run."""
    values = run.record.array(f"{geometry}.values")
    moved = {side: run.of(geometry, f"{side}.tokens") for side in ("raised", "lowered")}
    shown = _shown(run, geometry)
    ids = _window_ids(run, shown)
    used = [each.reshape(-1) for each in (*moved.values(), ids) if each is not None]
    vocabulary = np.unique(np.concatenate(used)) if used else np.empty(0, np.int64)
    return Deck(
        schema=1,
        geometry=geometry_name(geometry),
        groups=run.groups,
        layers=run.layers,
        modes=values.shape[1],
        tokens=token_texts(run, vocabulary),
        values=pack(values),
        residuals=_packed(run.of(geometry, "residuals")),
        residual_errors=_packed(run.of(geometry, "residuals.error")),
        converged=_packed(run.of(geometry, "converged"), "u1"),
        energy=_packed(run.of(geometry, "share")),
        effect=_packed(run.array("causal.effect")),
        labels=_labels(run, geometry),
        raised=_tokens(moved["raised"], run.of(geometry, "raised.logits"), vocabulary),
        lowered=_tokens(moved["lowered"], run.of(geometry, "lowered.logits"), vocabulary),
        histogram=_histogram(run, geometry),
        windows=None if shown is None else _windows(run, shown, ids, vocabulary),
        examples=None if shown is None else _examples(run, geometry, shown),
        similar_scores=_alike(run.of(geometry, "scores"), by_scores),
        similar_directions=_alike(run.of(geometry, "directions"), by_directions),
    )


def token_texts(run: LanguageRun, ids: np.ndarray) -> tuple[str, ...]:
    """The visible text of each of (M,) token ids; its number where the run holds no text for it."""
    known, texts = run.array("tokens.ids"), run.words("tokens.text")
    table = {} if known is None else dict(zip(known.tolist(), texts, strict=False))
    return tuple(visible_token(table[each]) if each in table else f"token {each}" for each in ids.tolist())


def _packed(array: np.ndarray | None, dtype: str = "f4") -> Packed | None:
    return None if array is None else pack(array, dtype)


def _shown(run: LanguageRun, geometry: str) -> np.ndarray | None:
    """(n,) the windows on any card, ascending."""
    examples = run.of(geometry, "examples")
    return None if examples is None or run.of(geometry, "scores") is None else np.unique(examples)


def _window_ids(run: LanguageRun, shown: np.ndarray | None) -> np.ndarray | None:
    ids = run.array("windows.input_ids")
    return None if ids is None or shown is None else ids[shown]


def _places(ids: np.ndarray, vocabulary: np.ndarray) -> Packed:
    return pack_counts(np.searchsorted(vocabulary, ids))


def _tokens(ids: np.ndarray | None, logits: np.ndarray | None, vocabulary: np.ndarray) -> Tokens | None:
    return None if ids is None or logits is None else Tokens(_places(ids, vocabulary), pack(logits))


def _windows(run: LanguageRun, shown: np.ndarray, ids: np.ndarray | None, vocabulary: np.ndarray) -> Windows:
    stories = run.array("windows.story")
    return Windows(
        number=tuple(shown.tolist()),
        tokens=None if ids is None else _places(ids, vocabulary),
        words=_of_windows(run.words("windows.word"), shown),
        classes=_of_windows(run.words("windows.pos"), shown),
        stories=None if stories is None else tuple(stories[shown].tolist()),
    )


def _of_windows(words: Sequence[str], shown: np.ndarray) -> tuple[str, ...] | None:
    return tuple(visible_token(words[at]) for at in shown.tolist()) if len(words) > shown.max(initial=-1) else None


def _examples(run: LanguageRun, geometry: str, shown: np.ndarray) -> Examples:
    windows = run.record.array(f"{geometry}.examples")
    scores = run.record.array(f"{geometry}.scores").transpose(0, 2, 1)  # (L, k, N)
    shares = run.of(geometry, "examples.shares")
    steps, sizes = (None, None) if shares is None else quantise(shares)
    return Examples(
        windows=_places(windows, shown),
        scores=pack(np.take_along_axis(scores, windows, axis=2)),
        shares=_packed(steps, "i1"),
        steps=_packed(sizes),
    )


def _histogram(run: LanguageRun, geometry: str) -> Histogram | None:
    scores = run.of(geometry, "scores")
    if scores is None:
        return None
    stored = run.words("windows.pos")
    classes = stored if len(stored) == scores.shape[1] else ("all windows",) * scores.shape[1]
    found = histograms(scores, tuple(map(visible_token, classes)), run.labels)
    return Histogram(found.classes, pack_counts(found.counts), pack(found.edges))


def _labels(run: LanguageRun, geometry: str) -> Labels | None:
    auroc, low, high, precision, p = (run.of(geometry, name) for name in _MEASURES)
    if auroc is None or not run.labels:
        return None
    return Labels(
        names=run.labels,
        sign=_packed(run.of(geometry, "sign"), "i1"),
        auroc=pack(auroc),
        low=_packed(low),
        high=_packed(high),
        average_precision=_packed(precision),
        p=_packed(p),
    )


def _alike(vectors: np.ndarray | None, nearest: Callable[[np.ndarray], Neighbours]) -> Alike | None:
    if vectors is None:
        return None
    found = nearest(vectors)
    return Alike(pack_counts(found.modes), pack(found.similarity))
