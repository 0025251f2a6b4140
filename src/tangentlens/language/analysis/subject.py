"""Subject of a language run: built from windows when a seed is measured, or from its stored record."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from tangentlens.language.analysis.config import Config
from tangentlens.language.analysis.task import Task
from tangentlens.language.batches import Batch
from tangentlens.language.model import LanguageModel, language_model
from tangentlens.language.sweep.groups import resolve_language_groups
from tangentlens.language.windows.windows import Windows
from tangentlens.records import Measurement
from tangentlens.store.figure_keys import BASELINE, family_of, method_of


@dataclass(frozen=True)
class LanguageSubject:
    """A language model with windows of text and labels of their next words.

    Attributes:
        lm: the model.
        input_ids: (N, T) tokens of the windows.
        task: labels, halves and stories.
        groups: names of the parameter groups, the lowest first.
        geometries: of the logits.
        seed: of windows, halves and pilot.
        attention_mask: (N, T) 0 at padding; None where every window is full.
    """

    lm: LanguageModel
    input_ids: Int[Tensor, "N T"]
    task: Task
    groups: tuple[str, ...]
    geometries: tuple[str, ...]
    seed: int
    attention_mask: Int[Tensor, "N T"] | None = None

    @property
    def batch(self) -> Batch:
        """The windows as the model takes them."""
        mask = {} if self.attention_mask is None else {"attention_mask": self.attention_mask}
        return {"input_ids": self.input_ids, **mask}

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the model's blocks."""
        return tuple(name for name, _ in self.lm.blocks)

    @property
    def sources(self) -> dict[str, str]:
        """Method -> prefix of its arrays, for every geometry and the baseline."""
        return {**{method_of(geometry): geometry for geometry in self.geometries}, BASELINE: BASELINE}

    def block_of(self, method: str, layer: int) -> int:
        """The block of a method's layer: the baseline's layers are blocks, those of kernels parameter groups."""
        return layer if method == BASELINE else self._places(self.groups[layer])[0]

    def layer_of(self, method: str, block: int) -> int | None:
        """A method's only layer in a block; None where it has none or several."""
        if block >= len(self.blocks):
            return None
        if method == BASELINE:
            return block
        layers = [layer for layer, group in enumerate(self.groups) if block in self._places(group)]
        return layers[0] if len(layers) == 1 else None

    def _places(self, group: str) -> list[int]:
        return [place for place, name in enumerate(self.blocks) if group.startswith(f"{name}.")]


def new_subject(config: Config, lm: LanguageModel, windows: Windows, task: Task, seed: int) -> LanguageSubject:
    """The subject of a seed that is to be measured."""
    groups = tuple(group.name for group in resolve_language_groups(lm, config.kernel.groups))
    return LanguageSubject(lm, windows.input_ids, task, groups, config.kernel.geometries, seed)


def stored_subject(config: Config, measured: Measurement) -> LanguageSubject:
    """The subject of a seed that was measured, from what the run holds; the model is loaded again."""
    arrays, words = measured.arrays, measured.words
    task = Task(
        words["labels.names"],
        tuple(map(family_of, words["labels.family"])),
        arrays["labels.matrix"].bool(),
        arrays["labels.train"][:, 0].bool(),
        arrays["windows.story"],
    )
    lm = language_model(config.model.name, revision=config.model.revision)
    return LanguageSubject(lm, arrays["windows.input_ids"], task, words["groups"], words["geometries"], measured.seed)
