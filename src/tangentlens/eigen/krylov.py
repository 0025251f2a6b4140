"""A growing orthonormal basis, the projection of K on it, and the residual of the projection."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.blas import multiply, top_eigh
from tangentlens.eigen.orthonormal import complement, random_columns
from tangentlens.eigen.residuals import float64_device, product, require_scale, require_symmetric
from tangentlens.operators import LinearOperator


@dataclass(frozen=True)
class RitzPairs:
    """Leading eigenpairs of the projection.

    Attributes:
        values: (k,) Ritz values, descending.
        coefficients: (m, k) Ritz vectors in coordinates of the basis.
        leaving: (p, k) their residuals K v - theta v in coordinates of the pending columns.
    """

    values: Float[Tensor, " k"]
    coefficients: Float[Tensor, "m k"]
    leaving: Float[Tensor, "p k"]

    @property
    def residual_norms(self) -> Float[Tensor, " k"]:
        """(k,) ||K v - theta v||, exact but for rounding in the products."""
        norms: Tensor = torch.linalg.vector_norm(self.leaving, dim=0)
        return norms


@final
class KrylovSpace:
    """Orthonormal V (n, m), its projection T = V^T K V, and pending columns Q (n, p) with their border B, such that

        K V = V T + Q B,    V^T Q = 0,    Q^T Q = 1.

    Every step keeps this relation: a block step, random columns put in, a rotation of Q, a restart on Ritz vectors.
    With all of Q taken at each step it is block Lanczos with full re-orthogonalisation (Golub & Underwood 1977); kept
    on Ritz vectors, the thick restart of Wu & Simon (2000).

    Attributes:
        newest: how many leading columns of Q span the part of the last step's product outside V.
        watched: size of the space when Ritz pairs were last computed.
        steps: products with a block so far.
        products: columns multiplied by K so far.
        scale: largest ||K v|| seen for a unit v, a lower bound on the norm of K that tightens as the space grows.
    """

    def __init__(self, op: LinearOperator, capacity: int, seed: int) -> None:
        n = op.shape[0]
        self._op = op
        home = float64_device(op)
        self._rows = torch.empty(capacity, n, dtype=torch.float64, device=home)  # V^T, then Q^T
        self._projection = torch.zeros(0, 0, dtype=torch.float64)
        self._pending = torch.zeros(n, 0, dtype=torch.float64, device=home)
        self._border = torch.zeros(0, 0, dtype=torch.float64)
        self._generator = torch.Generator().manual_seed(seed)
        self.newest, self.watched, self.steps, self.products, self.scale = 0, 0, 0, 0, 0.0

    @property
    def size(self) -> int:
        """m, the number of basis vectors."""
        return len(self._projection)

    @property
    def pending(self) -> int:
        """p, the number of pending columns."""
        return self._pending.shape[1]

    @property
    def capacity(self) -> int:
        """Most columns held at once, basis and pending together."""
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """n, the number of rows of K."""
        return self._rows.shape[1]

    def fits(self, count: int) -> bool:
        """Whether `count` more columns fit beside the basis and the pending ones, or nothing more can come."""
        return self.size + self.pending + count <= self.capacity or self.capacity == self.dimension

    @property
    def rounding(self) -> float:
        """Residual norm below which a product says nothing: eps ||K||."""
        return self._op.eps * self.scale

    def propose(self, columns: Float[Tensor, "n s"]) -> None:
        """Let what of the columns is outside the basis lead the pending columns."""
        unit = torch.nn.functional.normalize(columns, dim=0)
        fresh, inside = complement(self._stored(self._pending), unit, threshold=1e-12)
        outside = torch.cat([multiply(fresh.T, unit), inside[self.size :]]).cpu()
        self._pending = torch.cat([fresh, self._pending], dim=1)
        self._border = torch.cat([self._border.new_zeros(fresh.shape[1], self.size), self._border])
        self.turn(outside, threshold=1e-12)

    def propose_random(self, count: int) -> int:
        """Let random columns, or as many as the dimension leaves, lead the pending ones: how many."""
        count = min(count, self.dimension - self.size)
        self.propose(random_columns(self.dimension, count, self._generator, self._rows.device))
        return self.newest

    def expand(self, count: int) -> None:
        """Take the first `count` pending columns A into the basis: one product with K, one orthogonalisation."""
        m, A, kept = self.size, self._pending[:, :count], self._pending[:, count:]
        W = product(self._op, A)
        if self.steps == 0:
            require_scale(W, self._op.name)
        self.products += count
        self.steps += 1
        self.scale = max(self.scale, float(torch.linalg.vector_norm(W, dim=0).max()))

        coupling, kept_border = self._border[:count], self._border[count:]
        self._rows[m : m + count] = A.T
        self._projection = torch.nn.functional.pad(self._projection, (0, count, 0, count))
        fresh, inside = complement(self._stored(kept), W, threshold=self.rounding)
        inside = inside.cpu()
        along_basis, along_self, along_kept = inside[:m], inside[m : m + count], inside[m + count :]
        self._require_symmetric(along_basis - coupling.T, along_self - along_self.T)

        self._projection[:m, m:], self._projection[m:, :m] = coupling.T, coupling
        self._projection[m:, m:] = (along_self + along_self.T) / 2
        outside = torch.nn.functional.pad(multiply(fresh.T, W).cpu(), (m, 0))
        self._border = torch.cat([outside, torch.cat([kept_border, along_kept], dim=1)])
        self._pending = torch.cat([fresh, kept], dim=1)
        self.newest = fresh.shape[1]
        if kept.shape[1]:
            self.turn(self._border[:, m:], threshold=self.rounding)

    def ritz(self, k: int) -> RitzPairs:
        """The min(k, m) leading Ritz pairs."""
        self.watched = self.size
        values, coefficients = top_eigh(self._projection, min(k, self.size))
        return RitzPairs(values, coefficients, multiply(self._border, coefficients.contiguous()))

    def turn(self, leaving: Float[Tensor, "p u"], threshold: float) -> int:
        """Rotate the pending columns to the principal directions of `leaving`, the longest first.

        Returns:
            How many of the directions are longer than `threshold`; these are the newest from now on.
        """
        directions, lengths, _ = torch.linalg.svd(leaving, full_matrices=leaving.shape[0] > leaving.shape[1])
        self._pending = multiply(self._pending, directions.to(self._pending.device))
        self._border = multiply(directions.T, self._border)
        self.newest = int((lengths > threshold).sum())
        return self.newest

    def restart(self, keep: int) -> None:
        """Keep the space of the `keep` leading Ritz vectors alone; the relation K V = V T + Q B holds on."""
        values, coefficients = top_eigh(self._projection, keep)
        for columns in self._rows[: self.size].split(4096, dim=1):  # bounded memory
            columns[:keep] = multiply(coefficients.T.to(columns.device), columns)
        self.watched = keep
        self._projection, self._border = torch.diag(values), multiply(self._border, coefficients.contiguous())

    def vectors(self, coefficients: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """V coefficients."""
        return multiply(self._rows[: self.size].T, coefficients.contiguous().to(self._rows.device))

    def _stored(self, columns: Float[Tensor, "n q"]) -> Float[Tensor, "r n"]:
        """Rows of V^T and, stored behind them, of `columns`^T."""
        end = self.size + columns.shape[1]
        self._rows[self.size : end] = columns.T
        return self._rows[:end]

    def _require_symmetric(self, *differences: Tensor) -> None:
        asymmetry = max(float(d.abs().max()) for d in differences if d.numel())
        require_symmetric(asymmetry, self.scale, self._op)
