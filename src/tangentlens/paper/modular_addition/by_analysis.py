"""Overlaps that a setting stores, from the scores that the analysis of any model gives.

Orthonormal modes add their overlaps with a space, so that the overlap of the block of modes a..b-1 is the score of the
b leading modes less that of the a leading ones.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tangentlens.analysis.evidence.trained_network import TrainedNetwork
from tangentlens.analysis.subject import Subject

# (feature, group) -> overlap in percent, by the number of modes that were asked for
Scores = Mapping[int, Mapping[tuple[str, str], float]]


class Block(NamedTuple):
    """Modes first..end - 1 of one group's kernel, and the family that they are compared with."""

    family: str
    group: str
    first: int
    end: int


def mode_counts(blocks: Mapping[str, Block]) -> tuple[int, ...]:
    """How many modes must be asked for, ascending."""
    return tuple(sorted({count for block in blocks.values() for count in (block.first, block.end) if count}))


def overlaps_by_analysis(blocks: Mapping[str, Block], scores: Scores) -> dict[str, float]:
    """Key of a figure -> the overlap of its block, in percent."""

    def leading(block: Block, count: int) -> float:
        return scores[count][block.family, block.group] if count else 0.0

    return {key: leading(block, block.end) - leading(block, block.first) for key, block in blocks.items()}


def subject_of(network: TrainedNetwork, outputs: str, **more: object) -> Subject:
    """A trained network as the subject of an analysis of any model, each parameter a group."""
    given: dict[str, object] = {
        "features": network.features, "sites": network.sites, "targets": network.labels,
        "loss": network.example_loss, "split": network.split,
    }  # fmt: skip
    return Subject(network.model, network.inputs, groups="parameter", outputs=outputs, **(given | more))  # type: ignore[arg-type]
