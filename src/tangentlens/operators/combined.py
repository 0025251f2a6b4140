"""Operators made of others: sums, multiples, and the rows of some examples."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.operators.interface import LinearOperator
from tangentlens.operators.tensors import ArrayLike, real_tensor


@final
class SumOperator(LinearOperator):
    """The sum of operators of one shape, for example of the kernels of all groups."""

    def __init__(self, terms: Sequence[LinearOperator], *, name: str = "total") -> None:
        if not terms:
            raise InvalidInputError("a sum of operators needs at least one term", where=name)
        if len({term.shape for term in terms}) > 1:
            raise InvalidInputError(f"the terms have different shapes {[t.shape for t in terms]}", where=name)
        self.terms = tuple(terms)
        self.shape, self.device = terms[0].shape, terms[0].device
        self.dtype = max((t.dtype for t in terms), key=lambda d: torch.finfo(d).bits)
        self.symmetric, self.name = all(t.symmetric for t in terms), name

    @property
    def eps(self) -> float:
        return max(term.eps for term in self.terms)

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return sum((term @ V for term in self.terms[1:]), self.terms[0] @ V).to(self.dtype)

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        return sum((term.T @ U for term in self.terms[1:]), self.terms[0].T @ U).to(self.dtype)

    def dense(self) -> Float[Tensor, "n m"]:
        total = self.terms[0].dense().to(self.dtype, copy=True)
        for term in self.terms[1:]:
            total += term.dense()
        return total


@final
class ScaledOperator(LinearOperator):
    """factor * operator."""

    def __init__(self, operator: LinearOperator, factor: float) -> None:
        self.operator, self.factor = operator, factor
        self.shape, self.dtype, self.device = operator.shape, operator.dtype, operator.device
        self.symmetric, self.name = operator.symmetric, operator.name

    @property
    def eps(self) -> float:
        return self.operator.eps

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self.factor * self.operator.matmat(V)

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        return self.factor * self.operator.rmatmat(U)

    def dense(self) -> Float[Tensor, "n m"]:
        return self.factor * self.operator.dense()


@final
class RestrictedOperator(LinearOperator):
    """The rows and columns `rows` of a symmetric operator: the kernel of a subset of the examples.

    Args:
        operator: symmetric (n, n).
        rows: (s,) indices, which may be negative and may repeat, or a mask (n,).

    Raises:
        InvalidInputError: the operator is not symmetric, or has no such rows.
    """

    def __init__(self, operator: LinearOperator, rows: ArrayLike) -> None:
        if not operator.symmetric:
            raise InvalidInputError("only a symmetric operator can be restricted", where=operator.name)
        self.operator, self.rows = operator, _chosen_rows(operator, rows)
        self.shape = (len(self.rows), len(self.rows))
        self.dtype, self.device = operator.dtype, operator.device
        self.symmetric, self.name = True, operator.name

    @property
    def eps(self) -> float:
        return self.operator.eps

    def matmat(self, V: Float[Tensor, "s k"]) -> Float[Tensor, "s k"]:
        spread = V.new_zeros(self.operator.shape[0], V.shape[1]).index_add_(0, self.rows, V)
        return self.operator.matmat(spread)[self.rows]

    def dense(self) -> Float[Tensor, "s s"]:
        return self.operator.dense()[self.rows][:, self.rows]


def _chosen_rows(operator: LinearOperator, rows: ArrayLike) -> Tensor:
    index = real_tensor(rows, operator.name).to(operator.device)
    try:
        chosen = torch.arange(operator.shape[0], device=operator.device)[index]
    except (IndexError, TypeError) as error:
        raise InvalidInputError(
            f"the rows of an operator of shape {operator.shape} cannot be chosen by {rows!r}",
            where=operator.name,
            remedy=f"Give whole numbers from 0 to {operator.shape[0] - 1}, or a mask with one entry for each row.",
        ) from error
    if chosen.ndim != 1:
        raise InvalidInputError(f"the rows have shape {tuple(chosen.shape)}, not (s,)", where=operator.name)
    return chosen
