"""Ablation of a label's direction in the residual stream, and the drop of the next words' probabilities.

The direction of a function q of the windows is Z^T q / ||Z^T q||, with Z the residual stream after the layer at the
last token, centred, over the train half (controls/interventions/directions.py says why). It is projected out at the
last token of the windows of the test half. The drop is in the probability of the word's first token that the model
itself would write.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.controls.interventions.directions import random_directions
from tangentlens.controls.interventions.edits import without_directions
from tangentlens.language.analysis.ablation import Ablations
from tangentlens.language.analysis.examined import Examined
from tangentlens.language.analysis.last_token import LastTokens, last_tokens
from tangentlens.language.analysis.residual_stream import residual_stream
from tangentlens.language.model import LanguageModel

_WINDOWS = 32  # whose probabilities of all tokens are in memory together
_DRAWS = 5  # random directions for each label
RANDOM = "random"  # the method of random directions


@dataclass(frozen=True)
class Removal:
    """A direction to project out of the residual stream.

    Attributes:
        block: at whose output.
        basis: (d, 1), of length 1.
        around: (d,) the mean that stays.
    """

    block: int
    basis: Float[Tensor, "d 1"]
    around: Float[Tensor, " d"]


@dataclass(frozen=True)
class NextWords:
    """First token of the word that the model itself would write after each window.

    Attributes:
        chunks: the last tokens of the windows.
        tokens: of each chunk, (n, 1) the most probable next token.
        probability: (N,) of these.
    """

    chunks: tuple[LastTokens, ...]
    tokens: tuple[Int[Tensor, "n 1"], ...]
    probability: Float[Tensor, " N"]

    def drop(self, removal: Removal) -> Float[Tensor, " N"]:
        """How much less probable each is once a direction is gone."""

        def edit(values: Tensor) -> Tensor:
            return without_directions(removal.basis, removal.around.to(values))(values)

        found = [
            chunk.log_probabilities(removal.block, edit).gather(1, token)
            for chunk, token in zip(self.chunks, self.tokens, strict=True)
        ]
        return self.probability - torch.cat(found).exp()[:, 0]


def next_words(lm: LanguageModel, ids: Int[Tensor, "N T"]) -> NextWords:
    """The words that the model would write after some windows."""
    chunks = tuple(last_tokens(lm, {"input_ids": some}) for some in ids.split(_WINDOWS))
    found = [chunk.log_probabilities().max(dim=1, keepdim=True) for chunk in chunks]
    probability = torch.cat([each.values for each in found]).exp()[:, 0]
    return NextWords(chunks, tuple(each.indices for each in found), probability)


def word_drops(examined: Examined) -> Ablations:
    """Drops in percentage points on the test half, for every label of the first family and every method."""
    subject, task = examined.subject, examined.subject.task
    stream = residual_stream(subject.lm, subject.batch).double()
    test = (~task.train).nonzero()[:, 0]
    removals = {place: dict(_removals(examined, stream, place)) for place in task.main}
    words = next_words(subject.lm, subject.input_ids[test])
    drops = {place: {name: words.drop(each) for name, each in some.items()} for place, some in removals.items()}
    stacked = {
        name: 100 * torch.stack([drops[place][name] for place in task.main], dim=1).double()
        for name in drops[task.main[0]]
    }
    return Ablations(
        tuple(task.names[place] for place in task.main),
        task.labels[test][:, task.main],
        task.story[test],
        _with_random_mean(stacked),
    )


def _with_random_mean(drops: Mapping[str, Float[Tensor, "n L"]]) -> dict[str, Float[Tensor, "n L"]]:
    """The draws of random directions replaced by their mean."""
    draws = [drop for name, drop in drops.items() if name.startswith(RANDOM)]
    others = {name: drop for name, drop in drops.items() if not name.startswith(RANDOM)}
    return {**others, RANDOM: torch.stack(draws).mean(dim=0)}


def _removals(examined: Examined, stream: Float[Tensor, "blocks N d"], place: int) -> Iterator[tuple[str, Removal]]:
    """Method -> direction of one label, then random directions at the first method's block."""
    subject, task = examined.subject, examined.subject.task
    for name, choice in examined.choices.items():
        layer, mode = int(choice.layer[place]), int(choice.mode[place])
        block = subject.block_of(name, layer)
        values = stream[block][task.train]
        around = values.mean(dim=0)
        q = examined.scores[name][task.train][:, layer, mode].double()
        carried = (values - around).T @ (q - q.mean())
        yield name, Removal(block, (carried / carried.norm())[:, None], around)
    generator = examined.random(f"ablation {task.names[place]}")
    name, first = next(iter(examined.choices.items()))
    block = subject.block_of(name, int(first.layer[place]))
    around = stream[block][task.train].mean(dim=0)
    for draw in range(_DRAWS):
        yield f"{RANDOM} {draw}", Removal(block, random_directions(stream.shape[2], 1, generator), around)
