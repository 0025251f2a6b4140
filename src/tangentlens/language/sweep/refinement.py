"""Modes of one group's full kernel, nothing compressed, from those of a sweep."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen import top_eigenpairs
from tangentlens.eigen.rayleigh_ritz import rayleigh_ritz
from tangentlens.kernels.groups import Group
from tangentlens.language.batches import Batch
from tangentlens.language.model import LanguageModel
from tangentlens.language.soundness import prepared
from tangentlens.language.sweep.approximate_modes import geometry_errors
from tangentlens.language.sweep.full_kernel import full_kernel
from tangentlens.language.sweep.planning import planned_chain
from tangentlens.language.sweep.result import Sweep
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import LinearOperator
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs


@dataclass(frozen=True)
class RefinedModes:
    """Modes of one group's full kernel, nothing compressed.

    Attributes:
        pairs: eigenpairs on the rows (window, coordinate of S^(1/2) K_r S^(1/2)), with true residuals.
        operator: the kernel, matrix-free.
        left_out: (k,) what the error of the windows' S adds to the residuals; zero where S is exact.
    """

    pairs: Eigenpairs
    operator: LinearOperator
    left_out: Float[Tensor, " k"]


def refine(
    lm: LanguageModel,
    batch: Batch,
    group: str,
    swept: Sweep,
    *,
    steps: int | None = 2,
    tolerance: float = 1e-3,
    progress: Progress = silent,
) -> RefinedModes:
    """Modes of one group's full kernel, from those of a sweep of the same batch, with exact residuals.

    Args:
        swept: made with modes=.
        steps: how often the space of the modes grows by the residuals of those above the tolerance, at most k products
            each (a product is a backward and a forward pass through the stages above the group), after k for the modes
            themselves. None solves to the tolerance by block Lanczos from the modes of the sweep.
        tolerance: relative residual that counts as converged.

    Raises:
        InvalidInputError: the sweep has no modes of that group, or is of another number of windows.
    """
    pairs = swept.modes_of(group).pairs
    start = swept.lift(pairs.vectors).flatten(0, 1)
    members = Group(group, swept.members[group])
    with plain_torch():
        working, batch = prepared(lm, batch)
        chain, planned = planned_chain(working, batch, [members])
        kernel = full_kernel(chain, planned, batch, swept.geometry, members)
        if steps is None:
            found = top_eigenpairs(kernel, start.shape[1], tolerance, start=start, progress=progress)
        else:
            found = rayleigh_ritz(kernel, start, start.shape[1], tolerance, steps=steps, progress=progress)
    return RefinedModes(found, kernel, geometry_errors(found.vectors, swept.left_out))
