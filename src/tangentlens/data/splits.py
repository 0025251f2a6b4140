"""Two halves of the windows for each label, one to choose on and one to test on."""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tangentlens.data.batches import batched
from tangentlens.errors import InvalidInputError


def stratified_halves(
    labels: Bool[Tensor, "N L"], *, seed: int, groups: Int[Tensor, " N"] | None = None
) -> Bool[Tensor, "N L"]:
    """(N, L): whether the window is in the train half of the label; the others are its test half.

    Groups (windows, where None) are sorted by their number of windows with the label, then by size, then at random;
    of each two neighbours one goes to the train half: the one that evens out the windows with the label so far, else
    one at random. Without groups, the halves' sizes and their numbers of windows with the label differ by at most 1;
    a group is never divided. The split of a label depends on its column, the groups and the seed alone.

    Args:
        labels: whether the window has the label.
        seed: of the random order and choices.
        groups: windows with the same number stay together: those of one story, which may overlap.

    Raises:
        InvalidInputError: a label's windows, or those without it, do not come from at least two groups.
    """
    numbers = np.arange(len(labels)) if groups is None else groups.numpy()
    _, group = np.unique(numbers, return_inverse=True)
    columns = [_half(column, group, seed) for column in labels.numpy().T]
    for place, (column, train) in enumerate(zip(labels.numpy().T, columns, strict=True)):
        if any(not (column[half] == value).any() for half in (train, ~train) for value in (True, False)):
            raise InvalidInputError(
                "a half would have no window with the label, or none without it",
                where=f"label {place}",
                remedy="Leave out labels that so few windows or stories have.",
            )
    return torch.from_numpy(np.stack(columns, axis=1)) if columns else labels.clone()


def balanced_half(labels: Bool[Tensor, "N L"], *, seed: int, groups: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """(N,): one train half for all labels, groups undivided, with about half of each label's windows.

    Groups come in random order, the largest first; each goes to the half that leaves the smaller sum over labels, and
    over all windows, of (difference between the halves)^2 / number of windows.

    Args:
        labels: whether the window has the label.
        seed: of the random order.
        groups: windows with the same number stay together: those of one story, which may overlap.

    Raises:
        InvalidInputError: a half would have no window of a label, or none without it.
    """
    _, group = np.unique(groups.numpy(), return_inverse=True)
    columns = np.concatenate([labels.numpy(), np.ones((len(labels), 1), dtype=bool)], axis=1).astype(float)
    counts = np.zeros((group.max() + 1, columns.shape[1]))
    np.add.at(counts, group, columns)
    weights = 1 / np.maximum(columns.sum(axis=0), 1)
    order = np.lexsort((np.random.default_rng(seed).random(len(counts)), -counts[:, -1]))
    surplus = np.zeros(columns.shape[1])  # of the train half over the test half
    chosen = np.zeros(len(counts), dtype=bool)
    for place in order:
        chosen[place] = weights @ (surplus * counts[place]) <= 0
        surplus += counts[place] if chosen[place] else -counts[place]
    train = torch.from_numpy(chosen[group])
    for name, half in (("train", train), ("test", ~train)):
        held = labels[half].sum(dim=0)
        empty = ((held == 0) | (held == int(half.sum()))).nonzero().flatten().tolist()
        if empty:
            raise InvalidInputError(
                f"the {name} half would have no window with the label, or none without it",
                where=f"label {empty[0]}",
                remedy="Leave out labels that so few windows or stories have.",
            )
    return train


def _half(label: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """(N,) bool: the train half of one label."""
    generator = np.random.default_rng(seed)
    sizes, positives = np.bincount(group), np.bincount(group, weights=label)
    order = np.lexsort((generator.random(len(sizes)), sizes, positives))
    coins = generator.random((len(order) + 1) // 2) < 0.5
    train = np.zeros(len(sizes), dtype=bool)
    surplus = 0.0  # positives of the train half beyond those of the test half
    for coin, pair in zip(coins, batched(order, 2), strict=True):
        difference = positives[pair[0]] - positives[list(pair[1:])].sum()  # the last pair may be one alone
        first = bool(surplus * difference < 0) if surplus * difference else coin
        surplus += difference if first else -difference
        train[list(pair)] = [first, not first][: len(pair)]
    half: np.ndarray = train[group]
    return half
