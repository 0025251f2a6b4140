"""Modular addition (n, m) -> (n + m) mod p over all p^2 pairs; the pair (n, m) is row n * p + m everywhere."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tangentlens.analysis.subject import Split
from tangentlens.errors import InvalidInputError


def all_pairs(p: int) -> Int[Tensor, "N 2"]:
    """(p^2, 2) int64: row n * p + m is the pair (n, m).

    Raises:
        InvalidInputError: p is smaller than 2.
    """
    if p < 2:
        raise InvalidInputError(f"the modulus is {p}", where="p", remedy="Give an integer of at least 2.")
    return torch.cartesian_prod(torch.arange(p), torch.arange(p))


def labels(p: int) -> Int[Tensor, " N"]:
    """(p^2,) int64: (n + m) mod p."""
    return all_pairs(p).sum(dim=1) % p


def one_hot_inputs(p: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "N width"]:
    """(p^2, 2 p): one-hot of n beside one-hot of m, the input of the paper's MLP."""
    return one_hot(all_pairs(p), p).flatten(start_dim=1).to(dtype)


def token_inputs(p: int) -> Int[Tensor, "N 3"]:
    """(p^2, 3) int64: the tokens [n, m, p], the last one being the "equals" sign; the vocabulary has p + 1 tokens."""
    pairs = all_pairs(p)
    return torch.cat([pairs, torch.full((len(pairs), 1), p)], dim=1)


def one_hot_targets(p: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "N p"]:
    """(p^2, p): one-hot of the label."""
    return one_hot(labels(p), p).to(dtype)


def train_test_split(rows: int, train_fraction: float, generator: torch.Generator) -> Split:
    """A uniformly random split; floor(train_fraction * rows) rows train, the others test.

    Args:
        rows: number of rows, p^2 for all pairs.
        train_fraction: share of the rows to train on; both parts must get at least one row.
        generator: source of the permutation, advanced by one draw of `rows` numbers.

    Raises:
        InvalidInputError: one of the parts would be empty.
    """
    count = int(train_fraction * rows)
    if not 0 < count < rows:
        raise InvalidInputError(
            f"a train fraction of {train_fraction} leaves {count} of {rows} rows to train on",
            where="train_fraction",
            remedy="Choose a fraction that leaves rows both to train and to test on.",
        )
    shuffled = torch.randperm(rows, generator=generator)
    return Split(train=shuffled[:count].sort().values, test=shuffled[count:].sort().values)
