"""Which modes, and blocks of them, interventions act on; each with the feature that lies in it best."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.cliffs import find_cliffs
from tangentlens.alignment.overlap import centred_basis
from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.analysis.questions.scoring import choose, rows_of
from tangentlens.analysis.subject import Split

_LEADING = 3  # modes on their own, beside those of the features
_SINGLE = 8  # modes on their own, at most
_BLOCKS = 3  # blocks between gaps, at most


@dataclass(frozen=True)
class ModeBlock:
    """Some modes of one kernel.

    Attributes:
        name: in words.
        modes: their places.
        feature: the one that lies in them best on the choosing half; "" without features.
    """

    name: str
    modes: tuple[int, ...]
    feature: str = ""

    @property
    def single(self) -> bool:
        """Whether it is one mode."""
        return len(self.modes) == 1


def mode_blocks(modes: GroupModes, features: Sequence[Feature], halves: Split) -> tuple[ModeBlock, ...]:
    """The leading modes and each feature's best one, on their own; blocks between spectral gaps; all modes."""
    chosen = list(range(min(_LEADING, modes.count)))
    for feature in features:
        if feature.kind != "space" and len(chosen) < _SINGLE:
            best = choose(modes.vectors, feature, halves).mode
            chosen += [best] if best not in chosen else []
    runs: list[tuple[int, ...]] = [(mode,) for mode in sorted(chosen)]
    runs += [run for run in _between_gaps(modes) if len(run) > 1][:_BLOCKS]
    everything = tuple(range(modes.count))
    if everything not in runs:
        runs.append(everything)
    return tuple(ModeBlock(_name(run), run, best_feature(modes, run, features, halves)) for run in runs)


def best_feature(modes: GroupModes, run: Sequence[int], features: Sequence[Feature], halves: Split) -> str:
    """The feature of which the highest share lies in the span of some modes on the choosing half, by adjusted R^2."""
    best, name = float("-inf"), ""
    for feature in features:
        rows = rows_of(feature, halves.train)
        F, Q = centred_basis(feature.values[rows]), centred_basis(modes.vectors[rows][:, list(run)])
        n, k = len(rows), Q.shape[1]
        if not F.shape[1] or n <= k + 1:
            continue
        share = float((Q.T @ F).square().sum()) / F.shape[1]
        adjusted = 1 - (1 - share) * (n - 1) / (n - 1 - k)
        if adjusted > best:
            best, name = adjusted, feature.name
    return name


def _between_gaps(modes: GroupModes) -> list[tuple[int, ...]]:
    ends = [cliff.last_mode for cliff in find_cliffs(modes.values.clamp_min(0))] if modes.count else []
    starts = [0, *(end + 1 for end in ends)]
    return [tuple(range(first, last + 1)) for first, last in zip(starts, ends, strict=False)]


def _name(run: Sequence[int]) -> str:
    if len(run) == 1:
        return f"mode {run[0]}"
    return f"modes {run[0]} to {run[-1]}"


def columns_of_block(modes: GroupModes, block: ModeBlock, rows: Tensor) -> Float[Tensor, "n k"]:
    """The block's modes over some rows."""
    return modes.vectors[rows][:, list(block.modes)].to(torch.float64)
