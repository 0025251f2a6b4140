"""In which units a language model's outputs are compared: the geometry of its logits.

The logits are U r, with r the final hidden state. Their kernel U K_r U^T has the nonzero eigenvalues of
S^(1/2) K_r S^(1/2) with S = U^T U, so nothing of the vocabulary's size is formed. Three choices of S:

    raw        U^T U                      the kernel of the logits themselves (arXiv 2510.00468)
    centred    U^T (I - 1 1^T / V) U      softmax ignores a shift of all logits, and so does this kernel
    fisher     U^T (diag p - p p^T) U     each window's own softmax covariance: K is the pull-back of the Fisher metric

Where the logits are soft-capped, z = c tanh(U r / c), every U stands for its linearisation at the window,
diag(1 - (z / c)^2) U.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.models.language_model import LanguageModel

GEOMETRIES = ("raw", "centred", "fisher")
_MASS, _TOKENS = 0.9999, 2048  # the softmax covariance keeps tokens up to this mass, at most so many


class LogitGeometry(ABC):
    """S^(1/2) for each window.

    Attributes:
        name: one of GEOMETRIES.
        constant: whether S is the same at every window.
    """

    name: str
    constant: bool = False

    @abstractmethod
    def factors(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
        """Symmetric S^(1/2) at the final hidden states of some windows, float64 (a view where all are the same)."""

    def own_directions(self, hidden: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n d r"] | None:  # noqa: ARG002
        """Output directions that hold most of S at each window; None where S says nothing of single windows."""
        return None

    @abstractmethod
    def left_out(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Share of the trace of S that the factors leave out; zero where they are exact."""

    @abstractmethod
    def logit_directions(self, vectors: Float[Tensor, "d k"], hidden: Float[Tensor, " d"]) -> Float[Tensor, "V k"]:
        """U S^(-1/2) v: what directions in the coordinates of S^(1/2) K_r S^(1/2) do to the logits."""


def logit_geometry(lm: LanguageModel, name: str) -> LogitGeometry:
    """The geometry of that name for a model.

    Raises:
        InvalidInputError: the name is unknown.
    """
    if name == "fisher":
        return FisherGeometry(lm.unembedding, lm.soft_cap)
    if name not in GEOMETRIES:
        raise InvalidInputError(
            f"no logit geometry is called {name!r}", where="geometry", remedy=f"Choose one of {', '.join(GEOMETRIES)}."
        )
    U = lm.unembedding
    return CappedGeometry(name, U, lm.soft_cap) if lm.soft_cap else ConstantGeometry(name, U)


@final
class ConstantGeometry(LogitGeometry):
    """Raw or centred, for a linear head: one S for every window."""

    constant = True

    def __init__(self, name: str, unembedding: Float[Tensor, "V d"]) -> None:
        self.name = name
        self._U = unembedding
        self._mean = unembedding.mean(0, dtype=torch.float64) if name == "centred" else None
        S = _gram(unembedding, torch.ones(len(unembedding), dtype=torch.float64, device=unembedding.device))
        if self._mean is not None:
            S = S - len(unembedding) * torch.outer(self._mean, self._mean)
        self._root, self._inverse = _root_and_inverse(S)

    def factors(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
        return self._root.expand(len(hidden), -1, -1)

    def left_out(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.zeros(len(hidden), dtype=torch.float64, device=hidden.device)

    def logit_directions(
        self,
        vectors: Float[Tensor, "d k"],
        hidden: Float[Tensor, " d"],  # noqa: ARG002 - the same at every window
    ) -> Float[Tensor, "V k"]:
        seen = (self._inverse @ vectors.to(self._inverse)).to(self._U)
        raised = self._U @ seen
        return raised if self._mean is None else raised - self._mean.to(seen) @ seen


@final
class CappedGeometry(LogitGeometry):
    """Raw or centred, for soft-capped logits: linearised exactly at every window, 2 V d^2 operations each."""

    def __init__(self, name: str, unembedding: Float[Tensor, "V d"], cap: float) -> None:
        self.name, self._U, self._cap = name, unembedding, cap

    def factors(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
        return torch.stack([_root_and_inverse(self._matrix(r))[0] for r in hidden])

    def left_out(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.zeros(len(hidden), dtype=torch.float64, device=hidden.device)

    def logit_directions(self, vectors: Float[Tensor, "d k"], hidden: Float[Tensor, " d"]) -> Float[Tensor, "V k"]:
        inverse = _root_and_inverse(self._matrix(hidden))[1]
        raised = _slope(self._U @ hidden, self._cap)[:, None] * (self._U @ (inverse @ vectors.to(inverse)).to(self._U))
        return raised - raised.mean(0) if self.name == "centred" else raised

    def _matrix(self, hidden: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
        slope = _slope(self._U @ hidden, self._cap)
        S = _gram(self._U, slope.double().square())
        if self.name == "centred":
            mean = slope.double() @ self._U.double() / len(slope)
            S = S - len(slope) * torch.outer(mean, mean)
        return S


@dataclass(frozen=True)
class _Covariance:
    """The softmax covariance at a window as rows sqrt(p_v) (u_v - u), and what it leaves out of the trace."""

    rows: Float[Tensor, "m d"]
    left_out: float


@final
class FisherGeometry(LogitGeometry):
    """Each window's softmax covariance, from its most probable tokens; what the others would add is known exactly."""

    def __init__(self, unembedding: Float[Tensor, "V d"], cap: float | None) -> None:
        self.name, self._U, self._cap = "fisher", unembedding, cap
        self._norms = unembedding.double().square().sum(1)

    def factors(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n d d"]:
        return torch.stack([_root_and_inverse(self._matrix(r))[0] for r in hidden])

    def own_directions(self, hidden: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n d r"]:
        """The leading eigenvectors of S: the logits that are in doubt at a window are few.

        On Gemma-3-270M's `down_proj` modes 24 of them leave 0.34 outside, 24 directions shared by all windows 0.77.
        """
        return torch.stack([torch.linalg.eigh(self._matrix(r))[1].flip(1)[:, :count] for r in hidden])

    def left_out(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.tensor([self._covariance(r).left_out for r in hidden], dtype=torch.float64)

    def logit_directions(self, vectors: Float[Tensor, "d k"], hidden: Float[Tensor, " d"]) -> Float[Tensor, "V k"]:
        inverse = _root_and_inverse(self._matrix(hidden))[1]
        return self._U @ (inverse @ vectors.to(inverse)).to(self._U)

    def _matrix(self, hidden: Float[Tensor, " d"]) -> Float[Tensor, "d d"]:
        rows = self._covariance(hidden).rows
        return rows.T @ rows

    def _covariance(self, hidden: Float[Tensor, " d"]) -> _Covariance:
        """Rows whose Gram matrix is U^T (diag p - p p^T) U, restricted to the tokens kept."""
        logits = self._U @ hidden
        slope = torch.ones_like(logits) if self._cap is None else _slope(logits, self._cap)
        p = torch.softmax((logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)).double(), dim=0)
        weights = p * slope.double()
        mean = (weights.to(self._U) @ self._U).double()
        trace = float((weights * slope.double()) @ self._norms - mean @ mean)
        mass, order = torch.topk(p, min(_TOKENS, len(p)))
        kept = order[: int((mass.cumsum(0) < _MASS).sum()) + 1]
        rows = p[kept].sqrt()[:, None] * (slope[kept].double()[:, None] * self._U[kept].double() - mean)
        return _Covariance(rows, max(0.0, 1.0 - float(rows.square().sum()) / trace) if trace > 0 else 0.0)


def _slope(logits: Float[Tensor, " V"], cap: float) -> Float[Tensor, " V"]:
    """Derivative of c tanh(z / c)."""
    return 1 - torch.tanh(logits / cap).square()


def _gram(rows: Float[Tensor, "V d"], weights: Float[Tensor, " V"]) -> Float[Tensor, "d d"]:
    """sum_v w_v u_v u_v^T in float64, some rows at a time."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for start in range(0, len(rows), 65536):
        block = rows[start : start + 65536].double()
        total += block.T @ (weights[start : start + 65536, None] * block)
    return total


def _root_and_inverse(S: Float[Tensor, "d d"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """S^(1/2) and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh((S + S.T) / 2)
    roots = values.clamp(min=0).sqrt()
    floor = roots[-1] * len(S) * torch.finfo(S.dtype).eps ** 0.5
    inverse = torch.where(roots > floor, 1 / roots.clamp(min=floor), 0.0)
    return (vectors * roots) @ vectors.T, (vectors * inverse) @ vectors.T
