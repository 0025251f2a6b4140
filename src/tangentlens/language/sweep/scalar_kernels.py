"""N x N kernels of scalar outputs, formed from the factors of a backward pass: K[i, j] = <grad f_i, grad f_j>.

With the gradient of window i equal to sum_t left[i, t] (x) right[i, t], two routes lead to the same matrix. Token Grams
multiply (left . left') (right . right') for all pairs of positions, (N T)^2 (A + B) operations. Gradients in chunks
form A B numbers for each window, some columns at a time and each once, and add up their Gram matrices,
N T A B + N^2 A B operations. The faster by these counts is taken; both need memory for blocks alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.factored.contraction import Sizes, contract, gradient_operations, token_operations
from tangentlens.kernels.factored.factors import Factors
from tangentlens.language.sweep.compressed import ViewFactors

_DOUBLE = 8  # bytes of a number in token Grams, which are float64: twice as slow as float32
_CHUNK = 64 * 2**20  # bytes of gradients formed at a time; more makes a product no faster
_WINDOWS = 64  # in a block of a Gram matrix, of which half is mirrored


def scalar_kernels(views: Sequence[ViewFactors], workspace: int) -> list[Float[Tensor, "N N"]]:
    """One kernel, float64, for every direction of the factors.

    Args:
        views: of all parameters of a group.
        workspace: bytes that temporaries may take.
    """
    directions = len(views[0].uses[0].right)
    return [sum_of_views([_of_direction(view, s) for view in views], workspace) for s in range(directions)]


def sum_of_views(views: Sequence[Sequence[Factors]], workspace: int) -> Float[Tensor, "N N"]:
    """The kernel of several parameter views, each given by the factors of its uses in one direction."""
    kernels = [_of_view(uses, workspace) for uses in views]
    total: Tensor = sum(kernels[1:], start=kernels[0])
    return (total + total.T) / 2


def takes_tokens(uses: Sequence[Factors]) -> bool:
    """Whether token Grams are predicted faster than gradients in chunks, or alone can be taken."""
    windows = uses[0].right.shape[1]
    sizes = Sizes(windows, windows, 1, keep=True)
    extents = [use.extents for use in uses]
    slower = _DOUBLE / uses[0].right.element_size()
    in_chunks = all(use.one_hot is None and use.axes == uses[0].axes for use in uses)
    return not in_chunks or slower * token_operations(extents, sizes) <= gradient_operations(extents, sizes)


def _of_direction(view: ViewFactors, direction: int) -> list[Factors]:
    return [replace(use, right=use.right[direction : direction + 1]) for use in view.uses]


def _of_view(uses: Sequence[Factors], workspace: int) -> Float[Tensor, "N N"]:
    windows = uses[0].right.shape[1]
    if takes_tokens(uses):
        sizes = Sizes(windows, windows, 1, keep=True)
        return contract(uses, uses, sizes, workspace=workspace, accumulate=torch.float64)
    kernel = uses[0].right.new_zeros(windows, windows, dtype=torch.float64)
    for gradients in _chunks(uses, min(workspace // 2, _CHUNK)):
        for start in range(0, windows, _WINDOWS):
            rows = slice(start, start + _WINDOWS)
            kernel[rows, start:] += gradients[rows] @ gradients[start:].T
    return kernel.triu() + kernel.triu(1).T


def _chunks(uses: Sequence[Factors], limit: int) -> Iterator[Float[Tensor, "N p"]]:
    """Gradients of all windows in some rows of the weight after others."""
    _, windows, _, heads, right = uses[0].right.shape
    width = max(1, limit // (windows * heads * right * uses[0].right.element_size()))
    for start in range(0, uses[0].left.shape[3], width):
        rows = slice(start, start + width)
        pieces = [torch.einsum("ntha,nthb->nhab", use.left[..., rows].to(use.right), use.right[0]) for use in uses]
        yield sum(pieces[1:], start=pieces[0]).flatten(1)
