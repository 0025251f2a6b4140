"""What is analysed: a language model, windows of text, their labels; checked before anything long starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, nn

from tangentlens.alignment.splits import balanced_half
from tangentlens.analysis.arguments.features import Feature, FeatureSet
from tangentlens.analysis.options import evidence_generator
from tangentlens.analysis.subject import Split
from tangentlens.errors import InvalidInputError
from tangentlens.language.geometry import checked_geometry
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.groups import LanguageGroups, resolve_language_groups
from tangentlens.language.windows.text_windows import TextWindows

_LEAST = 16  # windows: half of them choose, half of them score


@dataclass(frozen=True)
class TextOptions:
    """How much an analysis of a language model computes.

    Attributes:
        groups: of parameters, as `tl.sweep` takes them.
        geometry: of the logits.
        modes: of each kernel, at most.
        directions: output directions of the sweep.
        tolerance: relative residual of the modes on the compressed rows.
        seed: of halves, permutations and controls.
        permutations: orders of each label; None for 100 for each row of the table, between 999 and 19,999.
        resamples: bootstrap samples.
        examples: windows shown of each mode.
        tokens: tokens shown that a mode raises, and as many that it lowers.
    """

    groups: LanguageGroups = "down_proj"
    geometry: str = "fisher"
    modes: int = 25
    directions: int = 24
    tolerance: float = 0.1
    seed: int = 0
    permutations: int | None = None
    resamples: int = 1000
    examples: int = 20
    tokens: int = 12


@dataclass(frozen=True)
class TextCase:
    """A language model with its windows, read and checked.

    Attributes:
        lm: the model.
        windows: of text, with labels.
        options: how much to compute.
        features: the labels that can be tested, and why others cannot.
        halves: windows to choose on, and to score on; windows of one text are in one half.
        untrained: the same architecture with its parameters drawn anew; None for no comparison.
        checkpoints: name -> the model at another time of its training.
    """

    lm: LanguageModel
    windows: TextWindows
    options: TextOptions
    features: FeatureSet
    halves: Split
    untrained: LanguageModel | None = field(repr=False, default=None)
    checkpoints: Mapping[str, LanguageModel] = field(repr=False, default_factory=dict)

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.windows)

    @property
    def by_name(self) -> dict[str, Feature]:
        """Features by name."""
        return {each.name: each for each in self.features.features}

    def generator(self, purpose: str) -> Generator:
        """A source of random numbers of its own for one purpose."""
        return evidence_generator(self.options.seed, purpose)


def check_options(options: TextOptions) -> None:
    """Refuse options that cannot be meant.

    Raises:
        InvalidInputError: names the keyword.
    """
    checked_geometry(options.geometry)
    for name, least in (("modes", 2), ("seed", 0), ("permutations", 1)):
        value = getattr(options, name)
        if value is None and name == "permutations":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInputError(f"{name}={value!r}", where=name, remedy=f"Give a number, at least {least}.")


def text_case(
    lm: LanguageModel,
    windows: TextWindows,
    options: TextOptions,
    *,
    untrained: LanguageModel | None = None,
    checkpoints: Mapping[str, LanguageModel] | None = None,
) -> TextCase:
    """A case from a model and its windows.

    Raises:
        InvalidInputError: there are too few windows or texts, or the groups name nothing.
    """
    check_options(options)
    texts = len(windows.text_index.unique())
    if len(windows) < _LEAST or texts < 2:
        raise InvalidInputError(
            f"{len(windows)} windows of {texts} texts",
            where="text",
            remedy=f"Give more text: at least {_LEAST} windows of 2 texts, so that half of the texts choose and half "
            "score.",
        )
    resolve_language_groups(lm, options.groups)
    features = windows.features()
    return TextCase(
        lm, windows, options, features, _halves(windows, features, options.seed), untrained, checkpoints or {}
    )


def _halves(windows: TextWindows, features: FeatureSet, seed: int) -> Split:
    """Halves with about half of the windows of every binary label; without a label that only one text has."""
    columns = [each.values[:, 0].bool() & each.present for each in features.features if each.kind == "binary"]
    columns = [column for column in columns if len(windows.text_index[column].unique()) > 1]
    columns = columns or [torch.arange(len(windows)) % 2 == 0]
    try:
        chosen = balanced_half(torch.stack(columns, dim=1), seed=seed, groups=windows.text_index)
    except InvalidInputError:  # a label that so few texts have is left to the test of each label
        chosen = _random_half(windows, seed)
    return Split(chosen.nonzero().flatten(), (~chosen).nonzero().flatten())


def _random_half(windows: TextWindows, seed: int) -> torch.Tensor:
    texts, index = windows.text_index.unique(return_inverse=True)
    order = torch.randperm(len(texts), generator=evidence_generator(seed, "halves of the texts"))
    return (order < len(texts) // 2)[index]


def reinitialised(lm: LanguageModel, seed: int) -> nn.Module:
    """The same architecture with parameters drawn as at the start of training.

    Raises:
        InvalidInputError: the model cannot be built from its config.
    """
    model = lm.model
    config = getattr(model, "config", None)
    build = getattr(type(model), "_from_config", None)
    if config is None or build is None:
        raise InvalidInputError(
            f"a {type(model).__name__} cannot be built from a config",
            where="untrained",
            remedy="Give untrained=None, or a model of the same architecture.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: nn.Module = build(config)
    first = next(model.parameters())
    return fresh.to(device=first.device, dtype=first.dtype).train(model.training)
