"""Geometry of a language model's logits: the units in which its outputs are compared.

The logits are z(r) = c tanh(y / c) with y = s U r + b, or y itself without a cap, of the final hidden state r. Their
kernel J K_r J^T, J = dz/dr, has the nonzero eigenvalues of S^(1/2) K_r S^(1/2) with S = J^T M J, so nothing of the
vocabulary's size is formed. Three choices of M:

    raw        I                  the kernel of the logits themselves (arXiv 2510.00468)
    centred    I - 1 1^T / V      softmax ignores a shift of all logits, and so does this kernel
    fisher     diag p - p p^T     each window's own softmax covariance: K is the pull-back of the Fisher metric

Without a cap J = s U at every window: raw and centred kernels see no bias, Fisher's p does.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.language.head import Head

GEOMETRIES = ("raw", "centred", "fisher")
_BLOCK = 65536  # rows of U in float64 at a time


@dataclass(frozen=True)
class Roots:
    """S^(1/2) of some windows.

    Attributes:
        factors: symmetric S^(1/2), float64 (a view where all windows share one).
        own: the leading eigenvectors of S at each window; None where S says nothing of single windows.
        left_out: relative error of S along them; zero where S is exact.
    """

    factors: Float[Tensor, "n d d"]
    own: Float[Tensor, "n d r"] | None
    left_out: Float[Tensor, " n"]


class LogitGeometry(ABC):
    """S^(1/2) for each window.

    Attributes:
        name: one of GEOMETRIES.
        constant: whether S is the same at every window.
        by_window: whether the leading eigenvectors of each window's S are directions of its own.
    """

    name: str
    constant: bool = False
    by_window: bool = False

    @abstractmethod
    def roots(self, hidden: Float[Tensor, "n d"], directions: int = 0) -> Roots:
        """S^(1/2) at the final hidden states of some windows, with so many leading eigenvectors."""

    def factors(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
        """S^(1/2) alone."""
        return self.roots(hidden).factors

    @abstractmethod
    def logit_directions(self, vectors: Float[Tensor, "d k"], hidden: Float[Tensor, " d"]) -> Float[Tensor, "V k"]:
        """J S^(-1/2) v: what directions in the coordinates of S^(1/2) K_r S^(1/2) do to the logits."""


@final
class ConstantGeometry(LogitGeometry):
    """Raw or centred, for a head without a cap: one S for every window."""

    constant = True

    def __init__(self, name: str, head: Head) -> None:
        U = head.weight
        self.name, self._head = name, head
        self._mean = U.mean(0, dtype=torch.float64) if name == "centred" else None
        S = _gram(U, torch.ones(len(U), dtype=torch.float64, device=U.device))
        if self._mean is not None:
            S = S - len(U) * torch.outer(self._mean, self._mean)
        self._root, self._inverse = root_and_inverse(*spectrum(head.scale**2 * S))

    def roots(self, hidden: Float[Tensor, "n d"], directions: int = 0) -> Roots:  # noqa: ARG002 - none are its own
        return Roots(self._root.expand(len(hidden), -1, -1), None, _zeros(hidden))

    def logit_directions(
        self,
        vectors: Float[Tensor, "d k"],
        hidden: Float[Tensor, " d"],  # noqa: ARG002 - the same at every window
    ) -> Float[Tensor, "V k"]:
        seen = self._head.scale * (self._inverse @ vectors.to(self._inverse)).to(self._head.weight)
        raised = self._head.weight @ seen
        return raised if self._mean is None else raised - self._mean.to(seen) @ seen


@final
class CappedGeometry(LogitGeometry):
    """Raw or centred, for soft-capped logits: linearised exactly at every window, 2 V d^2 operations each."""

    def __init__(self, name: str, head: Head) -> None:
        self.name, self._head = name, head

    def roots(self, hidden: Float[Tensor, "n d"], directions: int = 0) -> Roots:  # noqa: ARG002 - none are its own
        factors = [root_and_inverse(*spectrum(self._matrix(r)))[0] for r in hidden]
        return Roots(torch.stack(factors), None, _zeros(hidden))

    def logit_directions(self, vectors: Float[Tensor, "d k"], hidden: Float[Tensor, " d"]) -> Float[Tensor, "V k"]:
        inverse = root_and_inverse(*spectrum(self._matrix(hidden)))[1]
        raised = moved_logits(self._head, hidden, inverse @ vectors.to(inverse))
        return raised - raised.mean(0) if self.name == "centred" else raised

    def _matrix(self, hidden: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
        U = self._head.weight
        slope = self._head.slopes(self._head.logits(hidden[None])[0]).double()
        S = _gram(U, slope.square())
        if self.name == "centred":
            mean = (slope.to(U) @ U).double() / len(U)
            S = S - len(U) * torch.outer(mean, mean)
        return S


def checked_geometry(name: str) -> str:
    """The name, where there is such a geometry.

    Raises:
        InvalidInputError: there is none.
    """
    if name not in GEOMETRIES:
        raise InvalidInputError(
            f"no logit geometry is called {name!r}", where="geometry", remedy=f"Choose one of {', '.join(GEOMETRIES)}."
        )
    return name


def moved_logits(head: Head, hidden: Float[Tensor, " d"], moves: Float[Tensor, "d k"]) -> Float[Tensor, "V k"]:
    """J m: change of the logits along small moves of the final hidden state."""
    slopes = head.slopes(head.logits(hidden[None])[0])
    return slopes[:, None] * (head.weight @ moves.to(head.weight))


def spectrum(S: Float[Tensor, "d d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Eigenvalues, the largest first and none negative, and eigenvectors.

    Raises:
        NumericalError: the matrix holds NaN or infinity.
    """
    if not bool(torch.isfinite(S).all()):
        raise NumericalError("the geometry of the logits holds NaN or infinity", where="geometry")
    values, vectors = torch.linalg.eigh((S + S.T) / 2)
    return values.flip(0).clamp(min=0), vectors.flip(1)


def root_and_inverse(
    values: Float[Tensor, " d"], vectors: Float[Tensor, "d d"]
) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """S^(1/2) and its pseudo-inverse, from the spectrum of S."""
    roots = values.sqrt()
    floor = roots[0] * len(roots) * torch.finfo(roots.dtype).eps ** 0.5
    inverse = torch.where(roots > floor, 1 / roots.clamp(min=floor), 0.0)
    return (vectors * roots) @ vectors.T, (vectors * inverse) @ vectors.T


def _gram(rows: Float[Tensor, "V d"], weights: Float[Tensor, " V"]) -> Float[Tensor, "d d"]:
    """sum_v w_v u_v u_v^T in float64, some rows at a time."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].double()
        total += block.T @ (weights[start : start + _BLOCK, None] * block)
    return total


def _zeros(hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return torch.zeros(len(hidden), dtype=torch.float64, device=hidden.device)
