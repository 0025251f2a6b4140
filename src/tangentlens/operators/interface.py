"""The interface of a linear operator on the rows of a kernel, and its transpose."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.records import Eigenpairs


class LinearOperator(ABC):
    """A real (n, m) matrix known through its products.

    Attributes:
        shape: (n, m).
        dtype: floating dtype of the products.
        device: where the products are computed.
        symmetric: whether the matrix is symmetric by construction; a crossed kernel never is.
        name: what the operator is called in messages, for a kernel the name of its parameter group.
    """

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device
    symmetric: bool
    name: str

    @property
    def eps(self) -> float:
        """Relative rounding of the products: machine epsilon of the least precise dtype that they pass through."""
        return float(torch.finfo(self.dtype).eps)

    __array_ufunc__ = None  # numpy leaves array @ operator to __rmatmul__

    @abstractmethod
    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Product with k columns of the operator's dtype and device."""

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Product of the transposed matrix with k columns; for a symmetric operator, `matmat`.

        Raises:
            InvalidInputError: the operator is crossed and defines no transposed product.
        """
        if self.symmetric:
            return self.matmat(U)
        raise InvalidInputError(
            f"this {type(self).__name__} has no transposed product",
            where=self.name,
            remedy="Give the transposed product too, or take op.dense().T.",
        )

    @property
    def T(self) -> "LinearOperator":  # noqa: N802
        """The transposed operator."""
        return self if self.symmetric else TransposedOperator(self)

    def __matmul__(self, V: ArrayLike | Eigenpairs) -> Tensor:
        """op @ V, a tensor of the operator's dtype and device.

        Args:
            V: (m,) or (m, k), a tensor or a numpy array, a list, or Eigenpairs for their vectors; cast to the
                operator's dtype and device.

        Raises:
            InvalidInputError: V is not an array of real numbers, or has another number of rows.
        """
        columns = _columns(self, V)
        return self.matmat(columns) if columns.ndim == 2 else self.matmat(columns[:, None])[:, 0]

    def __rmatmul__(self, U: ArrayLike | Eigenpairs) -> Tensor:
        """U @ op for U (n,) or (k, n), by the transposed product; a tensor of the operator's dtype and device."""
        rows = real_tensor(U, self.name)
        return (self.T @ rows.mT).mT if rows.ndim == 2 else self.T @ rows

    def dense(self) -> Float[Tensor, "n m"]:
        """The matrix itself; allocates n * m numbers."""
        return self.matmat(torch.eye(self.shape[1], dtype=self.dtype, device=self.device))

    def to_scipy(self) -> ScipyLinearOperator:
        """The same operator for scipy.sparse.linalg, transposed products included (they still run in torch)."""
        dtype = self.dtype if self.dtype.itemsize >= 4 else torch.float32  # numpy has no bfloat16
        product, transposed = partial(_multiplied, self, dtype), partial(_multiplied, self.T, dtype)
        return ScipyLinearOperator(
            self.shape,
            matvec=product,
            matmat=product,
            rmatvec=transposed,
            rmatmat=transposed,
            dtype=torch.empty(0, dtype=dtype).numpy().dtype,
        )

    def __repr__(self) -> str:
        kind = "symmetric" if self.symmetric else "crossed"
        return f"{type(self).__name__}({self.name!r}, shape={self.shape}, {self.dtype}, {kind})"


def _columns(op: LinearOperator, V: ArrayLike | Eigenpairs) -> Tensor:
    columns = real_tensor(V, op.name)
    if columns.ndim not in (1, 2) or columns.shape[0] != op.shape[1]:
        raise InvalidInputError(
            f"an operator of shape {op.shape} cannot multiply an array of shape {tuple(columns.shape)}",
            where=op.name,
            remedy=f"Give {op.shape[1]} rows.",
        )
    return columns.to(dtype=op.dtype, device=op.device)


def _multiplied(op: LinearOperator, dtype: torch.dtype, V: Any) -> Any:
    return (op @ V).detach().cpu().to(dtype).numpy()


@final
class TransposedOperator(LinearOperator):
    """The transpose of a crossed operator; `op.T` makes it."""

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator
        self.shape = (operator.shape[1], operator.shape[0])
        self.dtype, self.device = operator.dtype, operator.device
        self.symmetric, self.name = operator.symmetric, operator.name

    @property
    def eps(self) -> float:
        return self.operator.eps

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self.operator.rmatmat(V)

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        return self.operator.matmat(U)

    @property
    def T(self) -> LinearOperator:  # noqa: N802
        return self.operator

    def dense(self) -> Float[Tensor, "n m"]:
        return self.operator.dense().T
