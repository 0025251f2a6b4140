"""Two halves of the inputs: one to choose modes and signs on, one to score them on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tangentlens.alignment.splits import balanced_half
from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.subject import Split
from tangentlens.errors import InvalidInputError


def halves(split: Any, features: Sequence[Feature], N: int, seed: int) -> Split:
    """The rows to choose on (`train`) and to score on (`test`).

    Args:
        split: None for halves balanced over the binary features; a Boolean mask of the rows to choose on; or the two
            sets of rows.
        features: binary ones are balanced.
        N: number of inputs.
        seed: of the random order.

    Raises:
        InvalidInputError: the split does not fit the inputs.
    """
    if split is None:
        return _balanced(features, N, seed)
    train, test = _given(split, N)
    joint = torch.cat([train, test])
    inside = len(joint) > 0 and bool(((joint >= 0) & (joint < N)).all())
    if not inside or len(joint.unique()) < len(joint) or min(len(train), len(test)) < 4:
        raise InvalidInputError(
            f"{len(train)} rows to choose on and {len(test)} to score on, of {N} inputs",
            where="split",
            remedy="Give a Boolean mask over the inputs, or two disjoint sets of at least 4 rows.",
        )
    return Split(train.sort().values, test.sort().values)


def _given(split: Any, N: int) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(split, Split):
        return split.train, split.test
    try:
        if isinstance(split, tuple) and len(split) == 2:
            train, test = (torch.as_tensor(np.asarray(rows)).long().flatten() for rows in split)
            return train, test
        mask = torch.as_tensor(np.asarray(split)).flatten()
    except (TypeError, ValueError, RuntimeError):
        mask = torch.zeros(0)
    if mask.dtype != torch.bool or len(mask) != N:
        raise InvalidInputError(
            "this splits no inputs", where="split", remedy=f"Give a Boolean mask of length {N}, or two sets of rows."
        )
    return mask.nonzero().flatten(), (~mask).nonzero().flatten()


def _balanced(features: Sequence[Feature], N: int, seed: int) -> Split:
    """Halves with about half of every binary feature's inputs; among those with a value too."""
    columns = [feature.values[:, 0].bool() for feature in features if feature.kind == "binary"]
    columns += [feature.present for feature in features if int((~feature.present).sum()) >= 4]
    labels = torch.stack(columns, dim=1) if columns else torch.arange(N)[:, None] % 2 == 0
    chosen = balanced_half(labels, seed=seed, groups=torch.arange(N))
    return Split(chosen.nonzero().flatten(), (~chosen).nonzero().flatten())
