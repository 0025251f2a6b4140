"""Feature cards as JSON in the style of Neuronpedia's batches: a file for each layer, a feature for each mode.

The keys that Neuronpedia's importer reads keep their names (model_id, layer, sae_set, features, pos_str, pos_values,
neg_str, neg_values, freq_hist_data_*, activations). A mode has no activations: `values` holds each token's share in
the window's score. What Neuronpedia has no place for stands under "tangentlens".
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tangentlens.errors import InvalidInputError
from tangentlens.report.cards.build import build_deck
from tangentlens.report.cards.deck import Deck, Histogram, Tokens
from tangentlens.report.cards.packed import Packed, unpack
from tangentlens.report.language_run import language_run
from tangentlens.store import StoredRun
from tangentlens.store.atomic import storing, write_text

_DIGITS = 4


def write_neuronpedia(run: StoredRun, folder: Path) -> tuple[Path, ...]:
    """Write the cards of a run's main geometry, one JSON file a layer.

    Args:
        run: as the report would show it; where it holds no texts, features have no activations.
        folder: made if it is missing; files of the same names are replaced.

    Returns:
        the files, layer-<layer>.json.

    Raises:
        InvalidInputError: the run has no modes of a language model.
        StoreError: the folder cannot be written.
    """
    modes = language_run(run)
    if modes is None:
        raise InvalidInputError("the run has no modes of a language model", where=str(run.folder))
    model = run.config.get("model")
    name = str(model.get("name", "unknown")) if isinstance(model, Mapping) else "unknown"
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for layer, batch in layer_batches(build_deck(modes, modes.main), name).items():
        path = folder / f"layer-{layer}.json"
        write_text(path, json.dumps(batch, allow_nan=False) + "\n")
        written.append(path)
    return tuple(written)


def layer_batches(deck: Deck, model: str) -> dict[str, dict[str, Any]]:
    """Name of each layer -> its batch."""
    return {
        name: {
            "model_id": re.sub(r"[^a-z0-9.-]+", "-", model.rpartition("/")[2].lower()),
            "layer": name,
            "sae_set": f"entk-{re.sub('[^a-z]+', '-', deck.geometry.lower())}",
            "sae_id_suffix": None,
            "features": [_feature(deck, layer, mode) for mode in range(deck.modes)],
        }
        for layer, name in enumerate(deck.layers)
    }


def _feature(deck: Deck, layer: int, mode: int) -> dict[str, Any]:
    at = (layer, mode)
    return {
        "feature_index": mode,
        **_moved("pos", deck, deck.raised, at),
        **_moved("neg", deck, deck.lowered, at),
        **_frequencies(deck.histogram, at),
        "activations": _activations(deck, at),
        "tangentlens": {
            "group": deck.groups[layer],
            "eigenvalue": _number(deck.values, at),
            "relative_residual": _number(deck.residuals, at),
            "relative_residual_error": _number(deck.residual_errors, at),
            "energy_in_direction": _number(deck.energy, at),
            "causal_effect": _number(deck.effect, at),
            "labels": _labels(deck, at),
        },
    }


def _moved(side: str, deck: Deck, moved: Tokens | None, at: tuple[int, int]) -> dict[str, Any]:
    if moved is None:
        return {f"{side}_str": [], f"{side}_values": []}
    words = [deck.tokens[place] for place in unpack(moved.places)[at].tolist()]
    return {f"{side}_str": words, f"{side}_values": _numbers(unpack(moved.logits)[at])}


def _frequencies(histogram: Histogram | None, at: tuple[int, int]) -> dict[str, list[float | None]]:
    """Windows by score, all classes together; a bar stands at the middle of its bin."""
    if histogram is None:
        return {"freq_hist_data_bar_heights": [], "freq_hist_data_bar_values": []}
    counts = unpack(histogram.counts)[at].sum(axis=0)
    low, high = unpack(histogram.edges)[at].tolist()
    middles = low + (high - low) * (np.arange(len(counts)) + 0.5) / len(counts)
    return {"freq_hist_data_bar_heights": _numbers(counts), "freq_hist_data_bar_values": _numbers(middles)}


def _activations(deck: Deck, at: tuple[int, int]) -> list[dict[str, Any]]:
    """The windows of a card, the highest scores first, then the lowest; none where texts or shares are left out."""
    shown, windows = deck.examples, deck.windows
    if shown is None or shown.shares is None or shown.steps is None or windows is None or windows.tokens is None:
        return []
    tokens, places, scores = unpack(windows.tokens), unpack(shown.windows)[at], unpack(shown.scores)[at]
    shares = unpack(shown.shares)[at] * unpack(shown.steps)[at][:, None].astype(np.float64)  # (E, T)
    return [
        {
            "tokens": [deck.tokens[token] for token in tokens[place].tolist()],
            "values": _numbers(each),
            "qualifying_token_index": int(np.abs(each).argmax()),
            "tangentlens": {
                "score": _rounded(score),
                "window": windows.number[place],
                "next_word": windows.words[place] if windows.words else None,
                "class": windows.classes[place] if windows.classes else None,
            },
        }
        for place, each, score in zip(places.tolist(), shares, scores.tolist(), strict=True)
    ]


def _labels(deck: Deck, at: tuple[int, int]) -> dict[str, Any]:
    """Name of the label -> its AUROC, average precision, interval and corrected p."""
    labels = deck.labels
    if labels is None:
        return {}
    parts = {
        "auroc": labels.auroc, "auroc_low": labels.low, "auroc_high": labels.high,
        "average_precision": labels.average_precision, "corrected_p": labels.p, "sign": labels.sign,
    }  # fmt: skip
    columns = {key: _numbers(unpack(part)[at]) for key, part in parts.items() if part is not None}
    return {name: {key: column[i] for key, column in columns.items()} for i, name in enumerate(labels.names)}


def _number(packed: Packed | None, at: tuple[int, int]) -> float | None:
    return None if packed is None else _rounded(float(unpack(packed)[at]))


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_rounded(value) for value in np.asarray(values, dtype=np.float64).tolist()]


def _rounded(value: float) -> float | None:
    """Four digits, and null for what is no number."""
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
