"""Frozen records that pass between the stages of an analysis."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenpairs of a symmetric operator K, each with its certificate.

    Attributes:
        values: (k,) eigenvalues, descending, float64.
        vectors: (n, k) orthonormal eigenvectors in columns, float64.
        residuals: (k,) true relative residuals ||K v - lambda v|| / |lambda| (0 / 0 counts as 0), from one
            product with K after the solve.
        converged: (k,) whether the residual is at most the tolerance asked for.
        products: number of columns that were multiplied by K, the certificate's own included.
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "n k"]
    residuals: Float[Tensor, " k"]
    converged: Bool[Tensor, " k"]
    products: int

    @property
    def value_errors(self) -> Float[Tensor, " k"]:
        """(k,) bound on |lambda - nearest true eigenvalue|: the residual norm (Parlett 1998, theorem 4.5.1).

        Infinite where lambda is exactly zero and its residual is not: a relative residual says nothing there.
        """
        return torch.where(self.residuals.isinf(), self.residuals, self.residuals * self.values.abs())

    def explain(self) -> str:
        """One sentence on convergence, with the remedy where a pair falls short."""
        k, good = len(self.values), int(self.converged.sum())
        worst = float(self.residuals.max()) if k else 0.0
        if good == k:
            return f"all {k} eigenpairs converged; the worst relative residual is {worst:.1e}"
        first = int(torch.nonzero(~self.converged)[0, 0])
        return (
            f"{k - good} of {k} eigenpairs did not converge (the first is mode {first}, the worst relative residual "
            f"{worst:.1e}); raise max_products or loosen tol"
        )


@dataclass(frozen=True)
class SubspaceOverlap:
    """How much of a feature space lies in the span of given modes.

    Attributes:
        singular_values: cosines of the principal angles, descending, float64.
        overlap: sum of their squares.
        rank: dimension of the feature space after mean-centring.
    """

    singular_values: Float[Tensor, " r"]
    overlap: float
    rank: int

    @property
    def percent(self) -> float:
        """100 * overlap / rank; NaN for an empty feature space."""
        return 100.0 * self.overlap / self.rank if self.rank else float("nan")


@dataclass(frozen=True)
class Figure:
    """One number of a result, with what is needed to judge it.

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
