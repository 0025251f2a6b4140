"""Linear operators on the rows of a kernel: what the solvers see, and all they see."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from scipy.sparse.linalg import LinearOperator as ScipyLinearOperator
from torch import Tensor

from tangentlens.errors import InvalidInputError


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

    @abstractmethod
    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Product with k columns of the operator's dtype and device."""

    def __matmul__(self, V: Tensor) -> Tensor:
        """op @ V for V of shape (m,) or (m, k); V is cast to the operator's dtype and device.

        Raises:
            InvalidInputError: V has another number of rows.
        """
        if V.ndim not in (1, 2) or V.shape[0] != self.shape[1]:
            raise InvalidInputError(
                f"an operator of shape {self.shape} cannot multiply an array of shape {tuple(V.shape)}",
                where=self.name,
                remedy=f"Give {self.shape[1]} rows.",
            )
        V = V.to(dtype=self.dtype, device=self.device)
        return self.matmat(V) if V.ndim == 2 else self.matmat(V[:, None])[:, 0]

    def dense(self) -> Float[Tensor, "n m"]:
        """The matrix itself; allocates n * m numbers."""
        return self.matmat(torch.eye(self.shape[1], dtype=self.dtype, device=self.device))

    def to_scipy(self) -> ScipyLinearOperator:
        """The same operator for scipy.sparse.linalg (products still run in torch)."""

        def multiply(V):  # type: ignore[no-untyped-def]
            return (self @ torch.as_tensor(V)).cpu().numpy()

        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        transposed = multiply if self.symmetric else None
        return ScipyLinearOperator(self.shape, matvec=multiply, matmat=multiply, rmatvec=transposed, dtype=dtype)

    def __repr__(self) -> str:
        kind = "symmetric" if self.symmetric else "crossed"
        return f"{type(self).__name__}({self.name!r}, shape={self.shape}, {self.dtype}, {kind})"


@final
class DenseOperator(LinearOperator):
    """A matrix held in memory.

    Args:
        matrix: (n, m).
        symmetric: whether it is symmetric; True by default.
        name: what it is called in messages.
    """

    def __init__(self, matrix: Float[Tensor, "n m"], *, symmetric: bool = True, name: str = "matrix") -> None:
        if symmetric and matrix.shape[0] != matrix.shape[1]:
            raise InvalidInputError(f"a symmetric operator must be square, not {tuple(matrix.shape)}", where=name)
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype, self.device = matrix.dtype, matrix.device
        self.symmetric, self.name = symmetric, name

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self.matrix @ V

    def dense(self) -> Float[Tensor, "n m"]:
        return self.matrix


@final
class ProductOperator(LinearOperator):
    """An operator given by a function that multiplies columns: the wrapper for a user's own product.

    Args:
        multiply: (m, k) -> (n, k), linear in its argument.
        shape: (n, m).
    """

    def __init__(
        self,
        multiply: Callable[[Tensor], Tensor],
        shape: tuple[int, int],
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        symmetric: bool = True,
        name: str = "product",
    ) -> None:
        self._multiply = multiply
        self.shape, self.dtype, self.device = shape, dtype, torch.device(device)
        self.symmetric, self.name = symmetric, name

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self._multiply(V)


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

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        total = self.terms[0] @ V
        for term in self.terms[1:]:
            total = total + term @ V
        return total.to(self.dtype)

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

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self.factor * self.operator.matmat(V)

    def dense(self) -> Float[Tensor, "n m"]:
        return self.factor * self.operator.dense()


@final
class RestrictedOperator(LinearOperator):
    """The rows and columns `rows` of a symmetric operator: the kernel of a subset of the examples."""

    def __init__(self, operator: LinearOperator, rows: Int[Tensor, " s"]) -> None:
        if not operator.symmetric:
            raise InvalidInputError("only a symmetric operator can be restricted", where=operator.name)
        self.operator, self.rows = operator, rows.to(operator.device)
        self.shape = (len(rows), len(rows))
        self.dtype, self.device = operator.dtype, operator.device
        self.symmetric, self.name = True, operator.name

    def matmat(self, V: Float[Tensor, "s k"]) -> Float[Tensor, "s k"]:
        padded = V.new_zeros(self.operator.shape[0], V.shape[1])
        padded[self.rows] = V
        return self.operator.matmat(padded)[self.rows]

    def dense(self) -> Float[Tensor, "s s"]:
        return self.operator.dense()[self.rows][:, self.rows]
