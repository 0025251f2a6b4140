"""Result of a sweep: kernels or modes of every group, and the basis they are expressed in."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.language.geometry import LogitGeometry
from tangentlens.language.sweep.approximate_modes import ApproximateModes
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.operators import LinearOperator


@dataclass(frozen=True)
class Sweep:
    """Kernels, or approximate eigenmodes, of every parameter group.

    Attributes:
        operators: group -> kernel on the rows (window, direction), window-major; empty where modes were asked for.
        modes: group -> leading modes; empty where none were asked for.
        basis: (d, r) orthonormal output directions, in the coordinates of S^(1/2) K_r S^(1/2); (N, d, r) where every
            window has its own.
        geometry: of the logits.
        windows: N.
        left_out: (N,) relative error of each window's S along its leading directions: what a sketch of the improbable
            tokens leaves out in Fisher geometry, measured; zero where all are summed. Part of every mode's residual.
        check: relative error of sampled entries of the kernels against plain autograd; None where check=False.
        members: group -> its parameters.
        seconds: wall time, that of earlier calls with the same folder included.
        options: the sweep was made with.
    """

    operators: Mapping[str, LinearOperator]
    modes: Mapping[str, ApproximateModes]
    basis: Float[Tensor, "d r"] | Float[Tensor, "N d r"]
    geometry: LogitGeometry
    windows: int
    left_out: Float[Tensor, " N"]
    check: float | None
    members: Mapping[str, tuple[str, ...]]
    seconds: float
    options: SweepOptions

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.members)

    def __getitem__(self, group: str) -> LinearOperator:
        if group not in self.members:
            raise InvalidInputError(
                f"there is no group {group!r}", where="groups", remedy=f"The groups are {', '.join(self.groups)}."
            )
        if group not in self.operators:
            raise InvalidInputError(
                "the kernels were freed, only their modes were kept",
                where=group,
                remedy="Call sweep without modes=, or take sweep.modes[group].",
            )
        return self.operators[group]

    def modes_of(self, group: str) -> ApproximateModes:
        """Approximate leading modes of a group.

        Raises:
            InvalidInputError: the sweep holds none of that group.
        """
        if group not in self.modes:
            raise InvalidInputError(
                "the sweep holds no modes of this group", where=group, remedy="Call sweep with modes= and this group."
            )
        return self.modes[group]

    def swept(self, group: str) -> ApproximateModes:
        """Deprecated name of `modes_of`."""
        warnings.warn("Sweep.swept is called modes_of", DeprecationWarning, stacklevel=2)
        return self.modes_of(group)

    def lift(self, vectors: Float[Tensor, "rows k"]) -> Float[Tensor, "N d k"]:
        """Vectors on the rows (window, direction) as vectors on (window, coordinate of S^(1/2) K_r S^(1/2))."""
        r = self.basis.shape[-1]
        if vectors.shape[0] != self.windows * r:
            raise InvalidInputError(
                f"vectors of {vectors.shape[0]} rows, where the sweep has {self.windows} x {r}", where="lift"
            )
        lifted: Tensor = self.basis @ vectors.to(self.basis).unflatten(0, (self.windows, r))
        return lifted
