"""Split of the windows into two halves, one to choose on and one to test on."""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tangentlens.errors import InvalidInputError


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
