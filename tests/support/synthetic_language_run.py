"""A run of a language model made up from sentences whose grammar is known, with modes that find it more or less."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tangentlens.alignment.splits import balanced_half
from tangentlens.records import Measurement
from tests.support.synthetic_run import store_run

WORDS = {
    "DET": ("the", "a", "this", "every"),
    "NOUN": ("dog", "garden", "boat", "kite", "morning", "forest", "cookie", "river", "friend", "hat"),
    "VERB": ("saw", "took", "found", "made", "liked", "kept", "lost", "drew"),
    "ADV": ("slowly", "then", "happily", "again", "soon", "very"),
    "PRON": ("she", "he", "they", "it"),
    "PROPN": ("Lily", "Tom", "Ben", "Mia"),
    "CCONJ": ("and", "but", "or"),
    "PUNCT": (".", ",", "!"),
}
SENTENCES = (
    ("PROPN", "VERB", "DET", "NOUN", "ADV", "PUNCT"),
    ("PRON", "ADV", "VERB", "DET", "NOUN", "CCONJ", "VERB", "PRON", "PUNCT"),
    ("DET", "NOUN", "CCONJ", "DET", "NOUN", "VERB", "PROPN", "PUNCT"),
)
MORPHOLOGY = {"Number=Sing": ("NOUN", "PROPN"), "Tense=Past": ("VERB",), "PronType=Prs": ("PRON",)}
MORPHOLOGY |= {"Definite=Def": ("DET",), "Person=3": ("PRON", "VERB"), "Degree=Pos": ("ADV",)}
CONFIG = """setting = "gemma"
seeds = [0]

[model]
name = "google/gemma-3-270m"

[windows]
length = 64
"""


@dataclass(frozen=True)
class Size:
    """Layers, modes, windows, tokens, example windows of a card, width of the model."""

    layers: int = 3
    modes: int = 4
    windows: int = 48
    tokens: int = 12
    examples: int = 6
    width: int = 8


FULL = Size(layers=18, modes=25, windows=1024, tokens=64, examples=20, width=640)


def language_measurement(size: Size = Size(), *, geometries: Sequence[str] = ("raw",), omit: Sequence[str] = ()):
    """A plausible seed that follows the names of a language model's run; `omit` leaves out arrays and words."""
    random = np.random.default_rng(0)
    ids, texts, classes, words = _windows(size, random)
    labels = _labels(classes)
    matrix = np.stack(list(labels.values()), axis=1)
    half = balanced_half(torch.from_numpy(matrix), seed=0, groups=torch.arange(size.windows) // 2).numpy()
    train = np.repeat(half[:, None], matrix.shape[1], axis=1)
    arrays = {
        "tokens.ids": np.arange(len(texts)), "windows.input_ids": ids, "windows.story": np.arange(size.windows) // 2,
        "labels.matrix": matrix.astype(np.uint8), "labels.train": train.astype(np.uint8),
        "causal.effect": _effects(size, random),
    }  # fmt: skip
    for geometry in geometries:
        found = _geometry(size, classes, len(texts), random, strength=1.6)
        found |= _measures(found["scores"], matrix, train)
        arrays |= {f"{geometry}.{name}": array for name, array in found.items()}
    baseline = _scores(size, classes, random, strength=0.9)
    values = np.sort(random.exponential(1.0, (size.layers, size.modes)))[:, ::-1]
    kept = ("auroc", "average_precision", "sign")
    measured = _measures(baseline, matrix, train)
    arrays |= {"pca.scores": baseline, "pca.values": values} | {f"pca.{name}": measured[name] for name in kept}
    named = {
        "groups": tuple(f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(size.layers)),
        "geometries": tuple(geometries), "tokens.text": texts, "windows.word": words, "windows.pos": classes,
        "labels.names": tuple(labels),
        "labels.family": tuple("pos" if name in WORDS else "morphology" for name in labels),
    }  # fmt: skip
    figures = {"auroc.pos.macro.entk": 0.83, "auroc.pos.macro.pca": 0.74, "sweep.seconds": 512.0}
    units = {"auroc.pos.macro.entk": "ratio", "auroc.pos.macro.pca": "ratio", "sweep.seconds": "seconds"}
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items() if name not in omit}
    return Measurement(0, figures, units, tensors, (), {name: each for name, each in named.items() if name not in omit})


def store_language_run(folder: Path, measurement: Measurement | None = None) -> Path:
    """Store a made-up language run, small by default, without its report."""
    return store_run(folder, [measurement or language_measurement()], CONFIG)


def with_words(measurement: Measurement, changes: Mapping[str, tuple[str, ...]]) -> Measurement:
    """The measurement with other strings."""
    return replace(measurement, words={**measurement.words, **changes})


def with_arrays(measurement: Measurement, changes: Mapping[str, np.ndarray]) -> Measurement:
    """The measurement with other arrays."""
    return replace(measurement, arrays={**measurement.arrays, **{k: torch.from_numpy(v) for k, v in changes.items()}})


def _windows(
    size: Size, random: np.random.Generator
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Token ids (N, T), the text of each, and class and text of the word that follows."""
    vocabulary = [(word, name) for name, words in WORDS.items() for word in words]
    number = {word: place for place, (word, _) in enumerate(vocabulary)}
    ids, classes, words = [], [], []
    for window in range(size.windows):
        stream: list[tuple[str, str]] = []
        wanted = list(WORDS)[window % len(WORDS)]
        while len(stream) <= size.tokens or stream[size.tokens][1] != wanted:
            stream = stream[-size.tokens + random.integers(1, 5) :] if len(stream) > 4 * size.tokens else stream
            sentence = SENTENCES[random.integers(len(SENTENCES))]
            stream += [(WORDS[name][random.integers(len(WORDS[name]))], name) for name in sentence]
            ends = [at for at in range(size.tokens, len(stream)) if stream[at][1] == wanted]
            stream = stream[ends[0] - size.tokens :] if ends else stream
        ids.append([number[word] for word, _ in stream[: size.tokens]])
        words.append(stream[size.tokens][0])
        classes.append(wanted)
    texts = tuple(word if name == "PUNCT" else f" {word}" for word, name in vocabulary)
    return np.array(ids, dtype=np.int64), texts, tuple(classes), tuple(words)


def _labels(classes: Sequence[str]) -> dict[str, np.ndarray]:
    rows = {name: (name,) for name in WORDS} | MORPHOLOGY
    return {label: np.array([name in members for name in classes]) for label, members in rows.items()}


def _effects(size: Size, random: np.random.Generator) -> np.ndarray:
    """Measured for the first two modes of a layer alone."""
    return np.where(np.arange(size.modes) < 2, random.exponential(0.1, (size.layers, size.modes)), np.nan)


def _scores(size: Size, classes: Sequence[str], random: np.random.Generator, strength: float) -> np.ndarray:
    """(L, N, k) unit columns: each mode prefers one class, the later the layer and the lower the mode the more."""
    member = np.array([list(WORDS).index(name) for name in classes])
    taste = random.standard_normal((size.layers, len(WORDS), size.modes)) * strength
    taste *= np.linspace(0.3, 1.0, size.layers)[:, None, None] / np.sqrt(1 + np.arange(size.modes) / 3)
    scores = taste[:, member] + random.standard_normal((size.layers, size.windows, size.modes))
    return (scores / np.linalg.norm(scores, axis=1, keepdims=True)).astype(np.float32)


def _geometry(
    size: Size, classes: Sequence[str], tokens: int, random: np.random.Generator, strength: float
) -> dict[str, np.ndarray]:
    L, k, E, T = size.layers, size.modes, size.examples, size.tokens
    scores = _scores(size, classes, random, strength)
    order = np.argsort(-scores, axis=1).transpose(0, 2, 1)  # (L, k, N)
    examples = np.concatenate([order[..., : E // 2], order[..., ::-1][..., : E // 2]], axis=2)
    held = np.take_along_axis(scores.transpose(0, 2, 1), examples, axis=2)
    near = np.exp(-np.arange(T)[::-1] / 4) * random.standard_normal((L, k, E, T)) + 0.25 * np.eye(T)[-1]
    near += (0.02 * random.standard_normal((L, k, E, T))).astype(np.float32)
    shares = near * 0.2 * np.abs(held)[..., None] + (held / T)[..., None]
    shares[..., -1] += held - shares.sum(axis=-1)
    residuals = np.linspace(0.005, 0.25, k) * random.uniform(0.7, 1.6, (L, k))
    moved = random.integers(0, tokens, (2, L, k, 12))
    logits = np.sort(random.exponential(1.5, (2, L, k, 12)))[..., ::-1].astype(np.float32)
    directions = random.standard_normal((L, k, size.width)).astype(np.float32)
    return {
        "values": np.exp(6 - 0.25 * np.arange(k) + np.linspace(0, 3, L)[:, None]), "residuals": residuals,
        "residuals.error": residuals / 10, "converged": (residuals < 0.1).astype(np.uint8), "scores": scores,
        "share": random.uniform(0.8, 1.0, (L, k)), "directions": directions, "raised.tokens": moved[0],
        "raised.logits": logits[0], "lowered.tokens": moved[1], "lowered.logits": -logits[1],
        "examples": examples, "examples.shares": shares.astype(np.float32),
    }  # fmt: skip


def _measures(scores: np.ndarray, labels: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """(L, k, labels) each: AUROC on the test half, the rest made up from it."""
    parts = [_signed_auroc(scores, labels[:, i], train[:, i]) for i in range(labels.shape[1])]
    auroc, sign = (np.stack(part, axis=2) for part in zip(*parts, strict=True))
    return {
        "auroc": auroc.astype(np.float32), "auroc.low": (auroc - 0.04).astype(np.float32),
        "auroc.high": np.minimum(auroc + 0.04, 1).astype(np.float32), "sign": sign.astype(np.int8),
        "average_precision": np.clip(auroc - 0.2, 0, 1).astype(np.float32),
        "p": np.exp(-60 * np.maximum(auroc - 0.5, 0)).astype(np.float32),
    }  # fmt: skip


def _signed_auroc(scores: np.ndarray, label: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sign = np.where(_auroc(scores[:, train], label[train]) < 0.5, -1, 1)
    plain = _auroc(scores[:, ~train], label[~train])
    return np.where(sign < 0, 1 - plain, plain), sign


def _auroc(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(L, k) for scores (L, N, k) without ties."""
    ranks = scores.argsort(axis=1).argsort(axis=1) + 1.0
    positives = label.sum()
    above = ranks[:, label].sum(axis=1) - positives * (positives + 1) / 2
    return np.asarray(above / (positives * (len(label) - positives)))
