"""Score new text on the modes of a sweep: the crossed kernel times the modes, never formed."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.groups import Group
from tangentlens.language.batches import Batch, some
from tangentlens.language.model import LanguageModel
from tangentlens.language.soundness import prepared
from tangentlens.language.sweep.full_kernel import full_kernel
from tangentlens.language.sweep.planning import planned_chain
from tangentlens.language.sweep.result import Sweep
from tangentlens.models.neutral import plain_torch
from tangentlens.progress import Progress, silent


def score_new_windows(
    lm: LanguageModel,
    batch: Batch,
    swept: Sweep,
    group: str,
    new: Batch,
    *,
    chunk: int = 64,
    progress: Progress = silent,
) -> Iterator[Float[Tensor, "m d k"]]:
    """K(new, batch) v / lambda for every mode of a group: the modes on windows that they were not found on.

    On the batch itself this gives the modes back (K v / lambda = v), up to their residuals. The parameter directions
    J^T v are formed once; every chunk of new windows then costs one forward-mode pass for each mode.

    Args:
        batch: the windows of the sweep.
        swept: made with modes=.
        group: whose modes.
        new: windows to score; any number and length.
        chunk: windows scored at a time.

    Yields:
        (m, d, k) for the chunks in order, in the coordinates of S^(1/2) K_r S^(1/2).

    Raises:
        InvalidInputError: the sweep holds no modes of that group.
    """
    pairs = swept.modes_of(group).pairs
    members = Group(group, swept.members[group])
    with plain_torch():
        working, known = prepared(lm, batch)
        kernel = full_kernel(*planned_chain(working, known, [members]), known, swept.geometry, members)
        directions = kernel.pull(swept.lift(pairs.vectors).flatten(0, 1).to(kernel.dtype))
        working, new = prepared(lm, new)
        chain, planned = planned_chain(working, new, [members])
    total = len(new["input_ids"])
    for start in range(0, total, chunk):
        with plain_torch():
            kernel = full_kernel(chain, planned, some(new, slice(start, start + chunk)), swept.geometry, members)
            pushed = kernel.push(directions).double()
        yield torch.unflatten(pushed, 0, (kernel.windows, -1)) / pairs.values
        progress("new windows", min(start + chunk, total), total)
