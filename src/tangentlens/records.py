"""Frozen records that pass between the stages of an analysis."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenpairs of a symmetric operator K, each with its residual.

    Attributes:
        values: (k,) eigenvalues, descending, float64.
        vectors: (n, k) orthonormal eigenvectors in columns, float64.
        residuals: (k,) true relative residuals ||K v - lambda v|| / |lambda| (0 / 0 counts as 0), from one
            product with K after the solve.
        converged: (k,) whether the residual is at most the tolerance asked for.
        products: number of columns that were multiplied by K, the residual check's own included.
        eps: relative rounding of the products with K: machine epsilon of the operator's dtype.
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "n k"]
    residuals: Float[Tensor, " k"]
    converged: Bool[Tensor, " k"]
    products: int
    eps: float = 2.0**-52

    @property
    def rounding(self) -> float:
        """(32 + sqrt(n)) eps lambda_1: eigenvalues up to it may be rounding of an operator of lower rank.

        Rounding of independent entries perturbs the eigenvalues by about sqrt(n) eps ||K|| (Weyl's inequality with the
        spectral norm of a random matrix); 32 covers short sums and factors that were rounded before.
        """
        largest = float(self.values[0]) if len(self.values) else 0.0
        return (32 + math.sqrt(len(self.vectors))) * self.eps * max(largest, 0.0)

    @property
    def rank(self) -> int:
        """Number of leading pairs with lambda > `rounding`; those behind are not modes of K but rounding."""
        return int((self.values > self.rounding).long().cumprod(0).sum())

    @property
    def modes(self) -> Float[Tensor, "n d"]:
        """(n, d) vectors of the pairs that are converged and within the rank."""
        rank = self.rank
        return self.vectors[:, :rank][:, self.converged[:rank]]

    @property
    def value_errors(self) -> Float[Tensor, " k"]:
        """(k,) bound on |lambda - nearest true eigenvalue|: the residual norm (Parlett 1998, theorem 4.5.1).

        Infinite where lambda is exactly zero and its residual is not: a relative residual says nothing there.
        """
        return torch.where(self.residuals.isinf(), self.residuals, self.residuals * self.values.abs())

    def explain(self) -> str:
        """One sentence on convergence and on the rank, with the remedy where a pair falls short."""
        k, rank = len(self.values), self.rank
        missed = torch.nonzero(~self.converged[:rank])[:, 0]
        if len(missed):
            said = (
                f"{len(missed)} of {rank} eigenpairs did not converge (the first is mode {int(missed[0])}, the worst "
                f"relative residual {float(self.residuals[:rank].max()):.1e}); {self._remedy(missed)}"
            )
        elif rank:
            worst = float(self.residuals[:rank].max())
            said = f"all {rank} eigenpairs converged; the worst relative residual is {worst:.1e}"
        else:
            said = "the operator is zero to rounding"
        if rank == k:
            return said
        return f"{said}; the numerical rank is {rank}, so {k - rank} of the {k} pairs asked for are rounding, not modes"

    def _remedy(self, missed: Tensor) -> str:
        """What helps the pairs that did not converge: more products, unless rounding is all that is left."""
        if bool((self.value_errors[missed] > self.rounding).any()):
            return "raise max_products or loosen tol"
        return "rounding of the products allows no better: compute in float64 or loosen tol"


@dataclass(frozen=True)
class SubspaceOverlap:
    """How much of a feature space lies in the span of given modes.

    Attributes:
        singular_values: cosines of the principal angles, descending, float64.
        overlap: sum of their squares.
        rank: dimension of the feature space after mean-centring.
        modes: dimension of the span of the modes that were used; None where a stored overlap does not say.
    """

    singular_values: Float[Tensor, " r"]
    overlap: float
    rank: int
    modes: int | None = None

    @property
    def percent(self) -> float:
        """100 * overlap / rank; NaN for an empty feature space."""
        return 100.0 * self.overlap / self.rank if self.rank else float("nan")


@dataclass(frozen=True)
class Figure:
    """One number of a result, with its uncertainty.

    Attributes:
        value: the number; the mean where there are several.
        interval: 95 % interval (low, high), None where there is only one observation.
        n: number of observations behind the value, None where a stored figure does not say.
        seeds: the seeds of those observations, in order.
        unit: "percent", "epoch", "seconds", "count", "ratio" ...
    """

    value: float | None
    interval: tuple[float, float] | None = None
    n: int | None = 1
    seeds: tuple[int, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Measurement:
    """What one seed of a setting gave, before anything is averaged.

    Attributes:
        seed: the seed of data, initialisation and training.
        figures: flat dotted key -> number; NaN where the seed has no such number (a network that never learned
            has no onset), which is counted, not hidden.
        units: flat dotted key -> unit of the figure.
        arrays: name -> tensor to store.
        notes: sentences for the reader: eigenpairs that did not converge, a fallback taken.
        words: name -> strings to store, what arrays cannot hold: names of labels, text of tokens.
        intervals: key of a figure -> 95 % interval inside this seed (a bootstrap over inputs), where there is one; it
            counts where a run has one seed, for otherwise the seeds give the interval.
    """

    seed: int
    figures: Mapping[str, float]
    units: Mapping[str, str]
    arrays: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
