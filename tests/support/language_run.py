"""Small runs of the analysis of a language model, without anything of the paper's."""

from functools import partial
from pathlib import Path

from tangentlens import pipeline
from tangentlens.language.analysis import evidence, measure, windows
from tangentlens.language.analysis.config import Config
from tangentlens.paper import Setting
from tangentlens.store import StoredRun, open_run

SETTINGS = {
    "language": Setting(
        Config, partial(measure.measure, blocks={"second_block": 1}), windows.prepare, evidence=evidence.evidence
    )
}


def config(place: Path, **kernel) -> Config:
    return Config.model_validate(
        {
            "model": {"name": str(place / "model")},
            "text": {"source": "file", "file": str(place / "stories.txt")},
            "windows": {"count": 48, "pos": ("NOUN", "VERB", "PUNCT"), "length": 12, "per_story": 3},
            "labels": {"support": 8, "distinct": 2, "largest_share": 0.95},
            "kernel": {"modes": 5, "directions": 6, "geometries": ("raw", "fisher"), "pilot_windows": 6} | kernel,
            "scoring": {"resamples": 60, "permutations": 20, "examples": 4, "tokens": 3},
        }
    )


def finished(settings: Config, folder: Path, **options) -> StoredRun:
    return open_run(pipeline.run(settings, folder, settings=SETTINGS, **options))


def with_evidence(folder: Path) -> StoredRun:
    return open_run(pipeline.add_evidence(folder, settings=SETTINGS))
