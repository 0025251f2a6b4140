"""Linear operators on the rows of a kernel: what the solvers see, and all they see."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.records import Eigenpairs
from tangentlens.tensors import ArrayLike, real_tensor


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


@final
class DenseOperator(LinearOperator):
    """A matrix held in memory.

    Args:
        matrix: (n, m) a tensor, numpy array or list; integers become float64.
        symmetric: whether it is symmetric; True by default.
        name: what it is called in messages.

    Raises:
        InvalidInputError: it is not a real matrix, or said to be symmetric and not square.
    """

    def __init__(self, matrix: ArrayLike, *, symmetric: bool = True, name: str = "matrix") -> None:
        values = real_tensor(matrix, name)
        if values.ndim != 2:
            raise InvalidInputError(f"a matrix has two axes, not the shape {tuple(values.shape)}", where=name)
        self.matrix = values if values.is_floating_point() else values.to(torch.float64)
        self.shape = (values.shape[0], values.shape[1])
        self.dtype, self.device = self.matrix.dtype, self.matrix.device
        self.symmetric, self.name = symmetric, name
        _require_square(self)

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self.matrix @ V

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        return self.matrix.T @ U

    def dense(self) -> Float[Tensor, "n m"]:
        return self.matrix


def _require_square(op: LinearOperator) -> None:
    if op.symmetric and op.shape[0] != op.shape[1]:
        raise InvalidInputError(
            f"a symmetric operator must be square, not {op.shape}", where=op.name, remedy="Pass symmetric=False."
        )


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
