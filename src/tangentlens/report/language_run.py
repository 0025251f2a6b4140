"""What a run of a language model stores, as its sections read it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tangentlens.report.visible_text import visible_token
from tangentlens.store import SeedRecord, StoredRun
from tangentlens.store.figure_keys import BASELINE

_GEOMETRIES = {"raw": "raw logits", "centred": "centred logits", "fisher": "Fisher"}
_WINDOWS = {"windows.input_ids", "windows.story"}
_TEXTS, _WORDS = ("windows.input_ids",), ("windows.word",)


@dataclass(frozen=True)
class LanguageRun:
    """One seed of a language model's run; every part of it may be absent.

    Attributes:
        record: the seed.
        groups: names of the L parameter groups.
        layers: a short name for each group, its layer's number where that tells them apart.
        blocks: short names of the layers whose residual stream the baseline reads.
        geometries: those with eigenvalues, the main one first.
        labels: names of the labels.
        families: the family of each label.
    """

    record: SeedRecord
    groups: tuple[str, ...]
    layers: tuple[str, ...]
    blocks: tuple[str, ...]
    geometries: tuple[str, ...]
    labels: tuple[str, ...]
    families: tuple[str, ...]

    @property
    def main(self) -> str:
        """The geometry that cards and maps show."""
        return self.geometries[0]

    def layers_of(self, source: str) -> tuple[str, ...]:
        """Short names of the layers that a geometry or the baseline has scores of."""
        return self.blocks if source == BASELINE else self.layers

    def array(self, name: str) -> np.ndarray | None:
        """An array of the seed, None where it holds none of that name."""
        return self.record.array(name) if name in self.record.names else None

    def of(self, source: str, name: str) -> np.ndarray | None:
        """An array of one geometry or of the baseline: of("raw", "scores")."""
        return self.array(f"{source}.{name}")

    def words(self, name: str) -> tuple[str, ...]:
        """Strings of the seed as they were stored; none where it holds none of that name."""
        return tuple(self.record.words.get(name, ()))


def holds_language_model(run: StoredRun) -> bool:
    """True for a run that holds windows of text and modes of a language model's kernels."""
    return any("geometries" in record.words or _WINDOWS & record.names for record in run.seeds)


def language_run(run: StoredRun) -> LanguageRun | None:
    """The first seed of the run; None where no seed has eigenvalues of any geometry."""
    found = (_read(record) for record in run.seeds)
    return next((each for each in found if each is not None), None)


def without_texts(record: SeedRecord) -> SeedRecord:
    """A seed without what would show the text of a window or the word that follows it."""
    return SeedRecord(
        seed=record.seed,
        figures=record.figures,
        units=record.units,
        notes=record.notes,
        seconds=record.seconds,
        sources={name: path for name, path in record.sources.items() if name not in _TEXTS},
        words={name: words for name, words in record.words.items() if name not in _WORDS},
    )


def geometry_name(geometry: str) -> str:
    """A geometry in words."""
    return _GEOMETRIES.get(geometry, visible_token(geometry))


def short_layers(groups: Sequence[str]) -> tuple[str, ...]:
    """The number of each group's layer ("model.layers.16.down_proj.weight" -> "16"), with the name of its module
    where groups share a layer ("16.down_proj"); the groups' places in the order where that does not tell them apart."""
    matches = [re.search(r"\.(\d+)(?:\.(?:\w+\.)*?(\w+)\.\w+)?$", group, re.ASCII) for group in groups]
    found = [match for match in matches if match]
    for names in ([match[1] for match in found], [f"{match[1]}.{match[2]}" for match in found]):
        if len(set(names)) == len(groups):
            return tuple(names)
    return tuple(map(str, range(len(groups))))


def _read(record: SeedRecord) -> LanguageRun | None:
    stored = tuple(name.removesuffix(".values") for name in record.names if name.endswith(".values"))
    named = tuple(record.words.get("geometries", sorted(set(stored) - {BASELINE})))
    geometries = tuple(name for name in named if name in stored)
    if not geometries:
        return None
    count = len(record.array(f"{geometries[0]}.values"))
    raw = record.words.get("groups", ())
    groups = tuple(map(visible_token, raw)) if len(raw) == count else tuple(f"group {i}" for i in range(count))
    labels = tuple(map(visible_token, record.words.get("labels.names", ())))
    families = tuple(record.words.get("labels.family", ()))
    return LanguageRun(
        record=record,
        groups=groups,
        layers=short_layers(groups),
        blocks=_blocks(record, short_layers(groups)),
        geometries=geometries,
        labels=labels,
        families=families if len(families) == len(labels) else ("",) * len(labels),
    )


def _blocks(record: SeedRecord, layers: tuple[str, ...]) -> tuple[str, ...]:
    """Names for the layers of the baseline: the stored blocks', else the groups' where there are as many."""
    name = f"{BASELINE}.scores"
    count = len(record.array(name)) if name in record.names else 0
    named = short_layers(record.words.get("blocks", ()))
    return next((each for each in (named, layers) if len(each) == count), tuple(map(str, range(count))))
