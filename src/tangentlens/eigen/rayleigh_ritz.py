"""The best eigenpairs that a given space holds, from products with it, their true residuals included."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.orthonormal import complement
from tangentlens.eigen.residuals import product, relative_residuals, require_finite
from tangentlens.errors import InvalidInputError
from tangentlens.operators import LinearOperator
from tangentlens.operators.tensors import ArrayLike, real_tensor
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs

_ROUNDING = 1e-10  # of the longest product: what is shorter adds nothing to a space


@dataclass(frozen=True)
class Projection:
    """An orthonormal basis V of a space, and what a product with K made of it.

    Attributes:
        basis: V, (n, m).
        product: K V, (n, m).
        eps: relative rounding of the product.
    """

    basis: Float[Tensor, "n m"]
    product: Float[Tensor, "n m"]
    eps: float = 2.0**-52

    def pairs(self, k: int, tol: float) -> tuple[Eigenpairs, Float[Tensor, "m k"]]:
        """The k leading eigenpairs of the projection with true residuals, and their coefficients in the basis."""
        projected = self.basis.T @ self.product
        values, coefficients = torch.linalg.eigh((projected + projected.T) / 2)
        values, coefficients = values.flip(0)[:k], coefficients.flip(1)[:, :k]
        vectors = self.basis @ coefficients
        residuals = relative_residuals((self.product @ coefficients - vectors * values).norm(dim=0), values)
        return Eigenpairs(values, vectors, residuals, residuals <= tol, self.basis.shape[1], self.eps), coefficients

    def beyond(self, k: int, tol: float) -> Float[Tensor, "n c"]:
        """Orthonormal columns for what the residuals of the k leading pairs above the tolerance add to the space."""
        pairs, coefficients = self.pairs(k, tol)
        if bool(pairs.converged.all()):
            return self.basis[:, :0]
        moved = self.product @ coefficients[:, ~pairs.converged]
        return complement(self.basis.T, moved, _ROUNDING * float(moved.norm(dim=0).max()))[0]


def rayleigh_ritz(
    op: LinearOperator,
    space: ArrayLike | Eigenpairs,
    k: int,
    tol: float,
    *,
    steps: int = 0,
    progress: Progress = silent,
) -> Eigenpairs:
    """Eigenpairs of the projection of K on a space (Rayleigh-Ritz), where a good space is known beforehand.

    With V an orthonormal basis and W = K V, the pairs of V^T W give v = V s and K v = W s: the product that projects
    also measures the residual, at no further cost. Each step joins the residuals of the k leading
    pairs to the space, which makes it a block Krylov space: nothing that was multiplied is thrown away.

    Args:
        op: symmetric (n, n).
        space: (n, m) columns that span the space, m >= k: an array, or Eigenpairs for their vectors.
        k: pairs returned.
        tol: relative residual that counts as converged.
        steps: how often the space grows, by at most k columns, while pairs are above the tolerance.
        progress: called after every product.

    Raises:
        InvalidInputError: the space has fewer than k independent columns, or another number of rows.
        NumericalError: NaN or infinity in a product; names the operator.
    """
    columns = real_tensor(space, "space")
    if columns.ndim != 2 or columns.shape[0] != op.shape[0] or columns.shape[1] < k:
        raise InvalidInputError(
            f"a space of shape {tuple(columns.shape)} cannot hold {k} eigenvectors", remedy=f"Give {op.shape[0]} rows."
        )
    basis = orthonormal_basis(columns, k)
    projection = Projection(basis, product(op, basis), op.eps)
    for step in range(steps):
        progress("products", step + 1, steps + 1)
        fresh = projection.beyond(k, tol)
        if fresh.shape[1] == 0:
            break
        joined = torch.cat([projection.basis, fresh], dim=1)
        projection = Projection(joined, torch.cat([projection.product, product(op, fresh)], dim=1), op.eps)
    progress("products", steps + 1, steps + 1)
    return projection.pairs(k, tol)[0]


def orthonormal_basis(space: Float[Tensor, "n m"], k: int) -> Float[Tensor, "n c"]:
    """Orthonormal columns that span what the given ones span.

    Raises:
        InvalidInputError: they are fewer than k.
        NumericalError: a column holds NaN or infinity.
    """
    require_finite(space, "space")
    columns = space.double()
    Q, R = torch.linalg.qr(columns)
    independent = R.diagonal().abs() > R.diagonal().abs().max() * _ROUNDING
    V: Tensor = Q[:, independent]
    if not bool(independent.all()):  # what is left of Q need not span the columns behind a dependent one
        longest = float(columns.norm(dim=0).max())
        V, _ = complement(columns.new_zeros(0, len(columns)), columns, _ROUNDING * longest)
    if V.shape[1] < k:
        raise InvalidInputError(
            f"only {V.shape[1]} of the columns are independent, {k} pairs were asked", where="space"
        )
    return V
