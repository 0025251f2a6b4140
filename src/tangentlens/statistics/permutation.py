"""Permutation tests of any statistic of labels, with the maximum over labels as the family-wise statistic.

Under the null hypothesis the labels have nothing to do with the scores, so that the rows of the label matrix could as
well stand in any other order. The statistic is a function of the labels alone and does everything that was done to the
real labels, the choice of mode, sign and layer included; whatever is fixed (scores, halves) it holds inside. Rows are
permuted jointly, so that labels keep their correlation, and inside strata (the halves), which leaves the test exact
however the strata were made: given the strata and the labels in them, the rows of scores inside a stratum are
exchangeable, while permuting across halves would undo a division that was stratified by the labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError

Statistic = Callable[[Tensor], Tensor]  # (B, N, L) Boolean label matrices -> (B, ...), large where labels are found


@dataclass(frozen=True)
class PermutationTest:
    """A statistic of the labels given, and of labels in random order.

    Attributes:
        observed: the statistic, of any shape (one entry for each label, say).
        null: the statistic for each of B random orders.
        p: (1 + number of orders whose entry is at least the observed one) / (1 + B), for each entry alone.
        p_family: the same against the largest entry of each order: family-wise error at most the level over all
            entries together (single-step maxT; Westfall and Young 1993).
        p_global: of the largest observed entry, the smallest of p_family: is there anything at all?
    """

    observed: Float[Tensor, "..."]
    null: Float[Tensor, "B ..."]
    p: Float[Tensor, "..."]
    p_family: Float[Tensor, "..."]
    p_global: float


def permutation_test(
    statistic: Statistic,
    labels: Tensor,
    *,
    generator: torch.Generator,
    within: Tensor | None = None,
    permutations: int = 1000,
    chunk: int = 64,
) -> PermutationTest:
    """Test whether a statistic of the labels is larger than for labels in random order.

    Args:
        statistic: (B, N, L) label matrices -> (B, ...) float64; it repeats the whole selection.
        labels: (N, L); rows are permuted, jointly over the labels.
        generator: source of the permutations.
        within: (N,) rows are exchanged within equal values only (the halves; stories); by default all with all.
        permutations: number of random orders B; the smallest possible p is 1 / (1 + B).
        chunk: random orders handed to the statistic at a time; changes memory, not the result.

    Raises:
        InvalidInputError: B or chunk below 1, labels not a matrix of 2 rows or more, strata that do not fit or that
            leave every row where it is, or a statistic that does not give one value for each label matrix.
        NumericalError: the statistic is NaN or infinite.
    """
    strata = _checked_strata(labels, within, permutations, chunk)
    observed = _evaluate(statistic, labels[None])[0]
    null = torch.cat(
        [_evaluate(statistic, labels[rows]) for rows in random_orders(strata, permutations, generator, chunk)]
    )
    largest = null.reshape(len(null), -1).amax(dim=1).reshape(-1, *[1] * observed.ndim)
    p_family = p_of_draws(largest, observed)
    return PermutationTest(observed, null, p_of_draws(null, observed), p_family, float(p_family.min()))


def p_of_draws(null: Float[Tensor, "B ..."], observed: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """One-sided p-values (1 + number of the B draws at least as large as the observed value) / (1 + B).

    Draws that fall short by less than 1e-10 (relative to 1 and to the value's size) count as equal.
    """
    limit = observed - 1e-10 * observed.abs().clamp_min(1)
    return (1 + (null >= limit).sum(dim=0)).to(torch.float64) / (1 + len(null))


def random_orders(
    strata: Int[Tensor, " N"], count: int, generator: torch.Generator, chunk: int
) -> Iterator[Int[Tensor, "b N"]]:
    """Uniformly random permutations of the rows within each stratum, `chunk` at a time."""
    _, dense = strata.unique(return_inverse=True)
    places = dense.argsort(stable=True)
    for start in range(0, count, chunk):
        keys = torch.rand(min(chunk, count - start), len(dense), generator=generator, dtype=torch.float64)
        orders = torch.empty_like(keys, dtype=torch.int64)
        orders[:, places] = (keys + dense).argsort(dim=1)
        yield orders


def _evaluate(statistic: Statistic, labels: Tensor) -> Tensor:
    values = statistic(labels)
    if values.ndim == 0 or len(values) != len(labels) or values.numel() == 0:
        raise InvalidInputError(
            f"the statistic gave shape {tuple(values.shape)} for {len(labels)} label matrices",
            where="statistic",
            remedy="Return a tensor whose first axis runs over the label matrices.",
        )
    if not bool(values.isfinite().all()):
        raise NumericalError("the statistic is NaN or infinite", where="statistic")
    return values.to(torch.float64)


def _checked_strata(labels: Tensor, within: Tensor | None, permutations: int, chunk: int) -> Int[Tensor, " N"]:
    if permutations < 1 or chunk < 1:
        raise InvalidInputError(
            f"permutations={permutations}, chunk={chunk}", where="permutation_test", remedy="Both are at least 1."
        )
    if labels.ndim != 2 or len(labels) < 2 or labels.shape[1] == 0:
        raise InvalidInputError(
            f"expected labels of shape (N, L) with N at least 2, not {tuple(labels.shape)}", where="labels"
        )
    given = torch.zeros(len(labels)) if within is None else within.detach().cpu()
    if given.shape != (len(labels),) or not bool(given.isfinite().all()):
        raise InvalidInputError(
            f"expected a finite stratum for each of {len(labels)} rows, not shape {tuple(given.shape)}", where="within"
        )
    strata: Tensor
    distinct, strata = given.unique(return_inverse=True)
    if len(distinct) == len(strata):
        raise InvalidInputError("every stratum has one row: nothing can be exchanged", where="within")
    return strata
