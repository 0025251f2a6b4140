"""From a run's record to the data of its cards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tangentlens.report.cards.deck import Alike, Deck, Examples, Histogram, Labels, Tokens, Windows
from tangentlens.report.cards.histograms import histograms
from tangentlens.report.cards.neighbours import Neighbours, by_directions, by_scores
from tangentlens.report.cards.packed import Packed, pack, pack_counts, quantise
from tangentlens.report.language_run import LanguageRun, geometry_name
from tangentlens.report.visible_text import visible_token
from tangentlens.store.figure_keys import WordDrop, method_of
from tangentlens.store.tables import read_table, table_names

_MOST_SHARES = 1_300_000  # a byte each: with 126 kernels of 25 modes the page, plotly included, is about 10 MB
_MEASURES = ("auroc", "auroc.low", "auroc.high", "average_precision", "p")


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
        effect=_packed(causal_effect(run, geometry)),
        labels=_labels(run, geometry),
        raised=_tokens(moved["raised"], run.of(geometry, "raised.logits"), vocabulary),
        lowered=_tokens(moved["lowered"], run.of(geometry, "lowered.logits"), vocabulary),
        histogram=_histogram(run, geometry),
        windows=None if shown is None else _windows(run, shown.windows, ids, vocabulary),
        examples=None if shown is None else _examples(run, geometry, shown),
        similar_scores=_alike(run.of(geometry, "scores"), by_scores),
        similar_directions=_alike(run.of(geometry, "directions"), by_directions),
        explained=_explained(run, values.shape[1]),
        classes_of=visible_token("".join(run.words("inputs.label"))) or "part of speech of the next word",
    )


def causal_effect(run: LanguageRun, geometry: str) -> np.ndarray | None:
    """(L, k) the stored effects, else those of ablating labels, at the mode chosen for each label; NaN elsewhere.

    The effect of a label is the drop of its own words' probability less that of others; a mode chosen for several
    labels has the largest in size. None where nothing was measured.
    """
    stored = run.array("causal.effect")
    layers, places = run.of(geometry, "layer"), run.of(geometry, "mode")
    if stored is not None or layers is None or places is None:
        return stored
    effects = np.full(run.record.array(f"{geometry}.values").shape, np.nan)
    for label, layer, mode in zip(run.words("labels.names"), layers.tolist(), places.tolist(), strict=False):
        own, other = (_ablated(run, label, geometry, side) for side in ("own", "other"))
        if own is not None and other is not None and not abs(effects[layer, mode]) > abs(own - other):
            effects[layer, mode] = own - other
    return effects if np.isfinite(effects).any() else None


def _explained(run: LanguageRun, k: int) -> tuple[str, ...] | None:
    """The best fact of every mode that is beyond chance, from the table of modes."""
    if "modes" not in table_names(run.record):
        return None
    rows = {(str(row["group"]), int(row["mode"])): row for row in read_table(run.record, "modes").rows()}
    groups = run.words("groups")
    named = groups if len(groups) > 1 else ("total",)
    return tuple(_fact(rows.get((group, mode))) for group in named for mode in range(k))


def _fact(row: Mapping[str, str | float | int] | None) -> str:
    if row is None or not row["explained_by"]:
        return ""
    metric = {"auroc": "AUROC"}.get(str(row["metric"]), str(row["metric"]))
    return f"{visible_token(str(row['explained_by']))} ({metric} {float(row['score']):.2f})"


def _ablated(run: LanguageRun, label: str, geometry: str, side: str) -> float | None:
    return run.record.figures.get(str(WordDrop(label, method_of(geometry), side)))


def token_texts(run: LanguageRun, ids: np.ndarray) -> tuple[str, ...]:
    """The visible text of each of (M,) token ids; its number where the run holds no text for it."""
    known, texts = run.array("tokens.ids"), run.words("tokens.text")
    table = {} if known is None else dict(zip(known.tolist(), texts, strict=False))
    return tuple(visible_token(table[each]) if each in table else f"token {each}" for each in ids.tolist())


@dataclass(frozen=True)
class _Shown:
    """What the cards show of the run's windows: (L, k, E) windows, (L, k, E, T) shares or None, (n,) windows on any."""

    examples: np.ndarray
    shares: np.ndarray | None
    windows: np.ndarray


def _shown(run: LanguageRun, geometry: str) -> _Shown | None:
    examples, shares = run.of(geometry, "examples"), run.of(geometry, "examples.shares")
    if examples is None or run.of(geometry, "scores") is None:
        return None
    places = kept_examples(examples.shape, 1 if shares is None else shares.shape[-1])
    kept = examples[..., places]
    return _Shown(kept, None if shares is None else shares[:, :, places], np.unique(kept))


def kept_examples(shape: tuple[int, ...], length: int) -> list[int]:
    """Places of the example windows that a page has room for, as many of the highest as of the lowest.

    Args:
        shape: (L, k, E) of all examples.
        length: shares of each.
    """
    layers, modes, count = shape
    room = _MOST_SHARES // max(layers * modes * length, 1)
    half = count // 2
    kept = max(1, min(half, room // 2))
    return list(range(count)) if kept >= half else [*range(kept), *range(half, half + kept)]


def _packed(array: np.ndarray | None, dtype: str = "f4") -> Packed | None:
    return None if array is None else pack(array, dtype)


def _window_ids(run: LanguageRun, shown: _Shown | None) -> np.ndarray | None:
    ids = run.array("windows.input_ids")
    return None if ids is None or shown is None else ids[shown.windows]


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
        classes=_of_windows(run.words("windows.pos") or run.words("inputs.classes"), shown),
        stories=None if stories is None else tuple(stories[shown].tolist()),
    )


def _of_windows(words: Sequence[str], shown: np.ndarray) -> tuple[str, ...] | None:
    return tuple(visible_token(words[at]) for at in shown.tolist()) if len(words) > shown.max(initial=-1) else None


def _examples(run: LanguageRun, geometry: str, shown: _Shown) -> Examples:
    scores = run.record.array(f"{geometry}.scores").transpose(0, 2, 1)  # (L, k, N)
    steps, sizes = (None, None) if shown.shares is None else quantise(shown.shares)
    return Examples(
        windows=_places(shown.examples, shown.windows),
        scores=pack(np.take_along_axis(scores, shown.examples, axis=2)),
        shares=_packed(steps, "i1"),
        steps=_packed(sizes),
    )


def _histogram(run: LanguageRun, geometry: str) -> Histogram | None:
    scores = run.of(geometry, "scores")
    if scores is None:
        return None
    stored = run.words("windows.pos") or run.words("inputs.classes")
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
