"""Operators that a user makes: from a matrix in memory, or from a function that multiplies."""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.operators.interface import LinearOperator
from tangentlens.operators.tensors import ArrayLike, real_tensor


@final
class DenseOperator(LinearOperator):
    """A matrix held in memory.

    Args:
        matrix: (n, m) a tensor, numpy array or list; integers become float64.
        symmetric: whether it is symmetric; True by default.
        name: what it is called in messages.
        eps: relative rounding of the matrix where it is more than that of its dtype: a Gram matrix J J^T of float32
            gradients that was added up in float64 is wrong by 2^-46 in the directions where J vanishes.

    Raises:
        InvalidInputError: it is not a real matrix, or said to be symmetric and not square.
    """

    def __init__(
        self, matrix: ArrayLike, *, symmetric: bool = True, name: str = "matrix", eps: float | None = None
    ) -> None:
        values = real_tensor(matrix, name)
        if values.ndim != 2:
            raise InvalidInputError(f"a matrix has two axes, not the shape {tuple(values.shape)}", where=name)
        self.matrix = values if values.is_floating_point() else values.to(torch.float64)
        self.shape = (values.shape[0], values.shape[1])
        self.dtype, self.device = self.matrix.dtype, self.matrix.device
        self.symmetric, self.name, self._eps = symmetric, name, eps
        _require_square(self)

    @property
    def eps(self) -> float:
        return super().eps if self._eps is None else self._eps

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self.matrix @ V

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        return self.matrix.T @ U

    def dense(self) -> Float[Tensor, "n m"]:
        return self.matrix


@final
class ProductOperator(LinearOperator):
    """An operator given by a function that multiplies columns: the wrapper for a user's own product.

    Args:
        multiply: (m, k) -> (n, k), linear in its argument; may return a numpy array.
        shape: (n, m).
        transposed: (n, k) -> (m, k), the product of the transposed matrix, where the operator is not symmetric; without
            it `rmatmat` is refused.

    Raises:
        InvalidInputError: said to be symmetric and not square.
    """

    def __init__(
        self,
        multiply: Callable[[Tensor], Tensor],
        shape: tuple[int, int],
        *,
        transposed: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        symmetric: bool = True,
        name: str = "product",
    ) -> None:
        self._multiply, self._transposed = multiply, transposed
        self.shape, self.dtype, self.device = shape, dtype, torch.device(device)
        self.symmetric, self.name = symmetric, name
        _require_square(self)

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self._checked(self._multiply(V), (self.shape[0], V.shape[1]))

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        if self.symmetric or self._transposed is None:
            return super().rmatmat(U)
        return self._checked(self._transposed(U), (self.shape[1], U.shape[1]))

    def _checked(self, product: object, shape: tuple[int, int]) -> Tensor:
        columns = real_tensor(product, self.name)
        if columns.shape != shape:
            raise InvalidInputError(
                f"the product has shape {tuple(columns.shape)}, not {shape}",
                where=self.name,
                remedy="The function must map (m, k) columns to (n, k) columns.",
            )
        return columns.to(dtype=self.dtype, device=self.device)


def _require_square(op: LinearOperator) -> None:
    if op.symmetric and op.shape[0] != op.shape[1]:
        raise InvalidInputError(
            f"a symmetric operator must be square, not {op.shape}", where=op.name, remedy="Pass symmetric=False."
        )
