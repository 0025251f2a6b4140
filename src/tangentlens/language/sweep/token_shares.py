"""Share of each token in a window's score on a mode: a compressed kernel's factors, not summed over positions.

With u = J^T v, the score of window i along the output direction w is a sum over the positions at which the parameter
is used,

    w . (K v)_i = sum over t of  left[i, t] . u . (sum over r of w[r] right[r, i, t])

so that every token's part is there before the sum is taken.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.kernels.factored.factors import Factors
from tangentlens.language.sweep.compressed import CompressedKernel, from_canonical


def token_shares(
    kernel: CompressedKernel,
    vectors: Float[Tensor, "rows k"],
    directions: Tensor,
    windows: Int[Tensor, "k e"],
    length: int,
    moves: Sequence[Tensor] = (),
) -> Float[Tensor, "k e T"]:
    """The parts of w_k . (K v_k)_i that the tokens of some windows i have; they add up to it.

    Args:
        kernel: on the rows (window, direction).
        vectors: v, one column for each mode.
        directions: (r, k), w in the kernel's directions, or (N, r, k) where they are not the same at all windows.
        windows: which windows, for each mode.
        length: T, tokens of a window.
        moves: J^T v of every column for each view, where they are known.
    """
    along = directions.expand(kernel.windows, -1, -1)
    shares = torch.zeros(*windows.shape, length, dtype=torch.float64, device=kernel.device)
    for block in torch.arange(vectors.shape[1]).split(kernel.width):
        gradients = [found[block] for found in moves] or kernel.gradients(vectors[:, block])
        for view, found in zip(kernel.views, gradients, strict=True):
            for use in view.uses:
                u = from_canonical(found.to(use.right.dtype), use)  # (k, H, A, B)
                for place, mode in enumerate(block.tolist()):
                    rows = windows[mode]
                    _add(shares[mode], use, rows, u[place], along[rows, :, mode], kernel.directions)
    return shares


def _add(
    shares: Float[Tensor, "e T"],
    use: Factors,
    rows: Int[Tensor, " e"],
    u: Float[Tensor, "H A B"],
    direction: Float[Tensor, "e r"],
    directions: int,
) -> None:
    right = torch.einsum("er,rethb->ethb", direction.to(use.right), use.right[:directions, rows])
    left = use.left[rows]
    if use.one_hot is not None:
        seen = u[:, left].permute(1, 2, 0, 3)  # (e, t, H, B)
    else:
        seen = torch.einsum("etha,hab->ethb", left, u)
    terms = (seen * right).sum((2, 3)).double()  # (e, t)
    if use.positions is None:
        shares += terms
    else:
        shares.scatter_add_(1, use.positions[rows], terms)
