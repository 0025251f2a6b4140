"""Windows of a language run: stories, labels and the search, from a config."""

import logging
from dataclasses import dataclass
from pathlib import Path

from tangentlens.errors import InvalidInputError
from tangentlens.language.analysis.config import Config
from tangentlens.language.model import LanguageModel, language_model
from tangentlens.language.windows.file import read_windows, write_windows
from tangentlens.language.windows.generated import WritingRules, written_stories
from tangentlens.language.windows.labelling import tagger
from tangentlens.language.windows.search import WindowRules, build_windows
from tangentlens.language.windows.text import Stories, file_stories, hub_stories
from tangentlens.language.windows.windows import Windows
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What all seeds share.

    Attributes:
        lm: the model.
        folder: where windows and sweeps are kept until the run is complete.
    """

    lm: LanguageModel
    folder: Path

    def of_seed(self, seed: int) -> Path:
        """The folder of one seed."""
        return self.folder / f"seed-{seed:04d}"


def prepare(config: Config, folder: Path, progress: Progress = silent) -> Prepared:
    """Load the model and find every seed's windows; those that the folder holds are not looked for again."""
    prepared = Prepared(language_model(config.model.name, revision=config.model.revision, progress=progress), folder)
    for seed in config.seeds:
        path = prepared.of_seed(seed) / "windows.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_windows(path, find_windows(config, prepared, seed, progress))
    return prepared


def stored_windows(prepared: Prepared, seed: int) -> Windows:
    """The windows that `prepare` found."""
    return read_windows(prepared.of_seed(seed) / "windows.safetensors")


def find_windows(config: Config, prepared: Prepared, seed: int, progress: Progress) -> Windows:
    """Look for the windows of one seed."""
    sizes, lm = config.windows, prepared.lm
    quota = sizes.count // len(sizes.pos)
    rules = WindowRules(
        length=sizes.length,
        quotas=dict.fromkeys(sizes.pos, quota),
        continuation=sizes.continuation,
        per_story=sizes.per_story,
        seed=seed,
        max_stories=sizes.max_stories,
        allow_fewer=sizes.allow_fewer,
    )
    work = prepared.of_seed(seed) / "search"
    stories = _stories(config, lm, seed, work, progress)
    labels = tagger(config.labels.pipeline)
    name = described(lm)
    return build_windows(stories, lm.model, lm.tokenizer, labels, rules, model_name=name, work=work, progress=progress)


def described(lm: LanguageModel) -> str:
    """Name of a model with what identifies its weights."""
    source = lm.source
    return type(lm.model).__name__ if source is None else f"{source.name} {source.revision or source.sha256}"


def _stories(config: Config, lm: LanguageModel, seed: int, work: Path, progress: Progress) -> Stories:
    text = config.text
    if text.source == "file":
        return file_stories(Path(str(text.file)), text.column)
    if text.source in ("auto", "hub"):
        try:
            return hub_stories(text.dataset, column=text.column)
        except InvalidInputError as error:
            if text.source == "hub":
                raise
            _log.warning("%s; the model writes its own stories instead", error.what)
    rules = WritingRules(count=text.written, seed=seed)
    return written_stories(lm.model, lm.tokenizer, rules, model_name=described(lm), work=work, progress=progress)
