"""From the factors of a parameter's gradient to its block of the kernel.

With dV[h, a, b] = sum_t left[n, t, h, a] right[r, n, t, h, b] the inner product of two examples' gradients is

    sum over h, t, s of  (left[n, t, h] . left[m, s, h]) * (right[r, n, t, h] . right[q, m, s, h]),

an elementwise product of two Gram matrices: the token route, (N T)^2 (A + R B) operations. The other route forms
the gradients, N R T A B operations, and their Gram matrix, N^2 R A B. Both accumulate in the dtype asked for,
float64 unless memory or time forbid it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.factored.factors import Extents, Factors, materialise

_ITEM = 8  # bytes of a number that is accumulated
_CACHED_BYTES = 16 * 2**20  # temporaries of a block on a CPU; larger ones go through main memory, 2 to 3 times as slow


@dataclass(frozen=True)
class Sizes:
    """Sizes that the cost of a contraction depends on: examples on both sides, directions, whether these stay rows."""

    left_examples: int
    right_examples: int
    directions: int
    keep: bool

    @property
    def rows_per_example(self) -> int:
        return self.directions if self.keep else 1


def contract(
    first: Sequence[Factors], second: Sequence[Factors], sizes: Sizes, *, workspace: int, accumulate: torch.dtype
) -> Float[Tensor, "n m"]:
    """Inner products of the gradients of two batches with respect to one parameter view.

    Args:
        first, second: factors of the uses of the view for the two batches; the same object for a symmetric kernel.
        sizes: their sizes.
        workspace: bytes that temporaries may take.
        accumulate: dtype of the Gram matrices.

    Returns:
        (rows of first, rows of second), rows example-major (i * R + r) where directions are kept.
    """
    extents = [p.extents for p in first]
    tokens = chooses_tokens(first, second, sizes)
    if tokens and _token_bytes(extents, sizes) > workspace > _gradient_bytes(extents, sizes):
        tokens = False
    route = token_route if tokens else gradient_route
    return route(first, second, sizes, workspace, accumulate)


def least_workspace(uses: Sequence[Extents], sizes: Sizes) -> int:
    """Bytes of the temporaries of one pair of examples, by the route that takes less."""
    return min(_token_bytes(uses, sizes), _gradient_bytes(uses, sizes))


def _token_bytes(uses: Sequence[Extents], sizes: Sizes) -> int:
    positions = max(use.positions * use.shared for use in uses)
    rows = max(use.positions * use.shared * (use.left + sizes.directions * use.right) for use in uses)
    return _ITEM * (3 * (positions * _pairs(uses, sizes)) ** 2 + 2 * rows)


def _pairs(uses: Sequence[Extents], sizes: Sizes) -> int:
    """Rows of a token Gram for each position: the directions, where they are kept or a tied weight mixes its sides."""
    return sizes.directions if sizes.keep or len(uses) > 1 else 1


def _gradient_bytes(uses: Sequence[Extents], sizes: Sizes) -> int:
    return 4 * _ITEM * sizes.directions * uses[0].value


def chooses_tokens(first: Sequence[Factors], second: Sequence[Factors], sizes: Sizes) -> bool:
    """Whether the token route is open to these factors and takes fewer operations."""
    comparable = all(_same(p, q) or _swapped(p, q) for p in first for q in second)
    extents = [p.extents for p in first]
    return comparable and token_operations(extents, sizes) <= gradient_operations(extents, sizes)


def token_operations(uses: Sequence[Extents], sizes: Sizes) -> float:
    """Multiplications and additions of the token route, for the uses of one parameter view."""
    kept = sizes.directions**2 if sizes.keep else sizes.directions
    pairs = float(sizes.left_examples) * sizes.right_examples
    return sum(
        2 * pairs * p.positions * q.positions * p.shared * (p.left + kept * p.right + 1) for p in uses for q in uses
    )


def gradient_operations(uses: Sequence[Extents], sizes: Sizes) -> float:
    """Multiplications and additions of the route that forms every gradient, for the uses of one parameter view."""
    rows = sizes.rows_per_example
    grams = 2.0 * sizes.left_examples * rows * sizes.right_examples * rows * uses[0].value
    grams *= 1 if sizes.keep else sizes.directions
    forming = sum(2.0 * p.positions * p.value * sizes.directions * sizes.left_examples for p in uses)
    return grams + forming


def token_route(
    first: Sequence[Factors], second: Sequence[Factors], sizes: Sizes, workspace: int, accumulate: torch.dtype
) -> Float[Tensor, "n m"]:
    """Sum of elementwise products of Gram matrices, block by block; only half of them where the two sides agree."""
    symmetric = first is second
    kept = sizes.rows_per_example
    kernel = first[0].right.new_zeros(sizes.left_examples * kept, sizes.right_examples * kept, dtype=accumulate)
    width = _token_width([p.extents for p in (*first, *second)], sizes, workspace, cached=kernel.device.type == "cpu")
    for rows in _blocks(sizes.left_examples, width):
        for columns in _blocks(sizes.right_examples, width):
            if symmetric and columns.start < rows.start:
                continue
            block = sum(
                _token_block(p.rows(rows), q.rows(columns), sizes.keep, accumulate) for p in first for q in second
            )
            i = slice(rows.start * kept, rows.stop * kept)
            j = slice(columns.start * kept, columns.stop * kept)
            kernel[i, j] = block
            if symmetric and columns.start > rows.start:
                kernel[j, i] = kernel[i, j].T
    return kernel


def _token_width(uses: Sequence[Extents], sizes: Sizes, workspace: int, *, cached: bool) -> int:
    """Examples in a block, so that Gram matrices stay in the cache and their operands within the workspace."""
    positions = max(use.positions * use.shared for use in uses)
    rows = max(use.positions * use.shared * (use.left + sizes.directions * use.right) for use in uses)
    available = min(workspace, _CACHED_BYTES) if cached else workspace
    by_gram = int((available / (3 * _ITEM)) ** 0.5 / max(1, positions * _pairs(uses, sizes)))
    return max(1, min(by_gram, workspace // (2 * _ITEM * max(1, rows))))


def _token_block(p: Factors, q: Factors, keep: bool, accumulate: torch.dtype) -> Tensor:
    if _same(p, q):
        return _same_axes(p, q, keep, accumulate)
    return _swapped_axes(p, q, keep, accumulate)


def _same_axes(p: Factors, q: Factors, keep: bool, accumulate: torch.dtype) -> Float[Tensor, "n m"]:
    (R, n, T, H, _), (_, m, S, _, _) = p.right.shape, q.right.shape
    lefts = _left_gram(p, q, accumulate)  # (H, n T, m S)
    if not keep:
        a = p.right.permute(3, 1, 2, 0, 4).reshape(H, n * T, -1).to(accumulate)
        b = q.right.permute(3, 1, 2, 0, 4).reshape(H, m * S, -1).to(accumulate)
        product = (a @ b.mT).mul_(lefts)
        return product.view(H, n, T, m, S).sum((0, 2, 4)) if H * T * S > 1 else product[0]
    a = p.right.permute(3, 1, 0, 2, 4).reshape(H, n * R * T, -1).to(accumulate)
    b = q.right.permute(3, 1, 0, 2, 4).reshape(H, m * R * S, -1).to(accumulate)
    product = (a @ b.mT).view(H, n, R, T, m, R, S).mul_(lefts.view(H, n, 1, T, m, 1, S))
    return product.sum((0, 3, 6)).view(n * R, m * R)


def _left_gram(p: Factors, q: Factors, accumulate: torch.dtype) -> Float[Tensor, "H nT mS"]:
    if p.one_hot is not None and q.one_hot is not None:
        return (p.left.reshape(-1, 1) == q.left.reshape(1, -1)).to(accumulate)[None]
    if p.one_hot is not None:
        return _left_gram(q, p, accumulate).mT
    dense = p.left.permute(2, 0, 1, 3).flatten(1, 2).to(accumulate)  # (H, n T, A)
    if q.one_hot is not None:
        return dense[:, :, q.left.flatten()]
    return dense @ q.left.permute(2, 0, 1, 3).flatten(1, 2).to(accumulate).mT


def _swapped_axes(p: Factors, q: Factors, keep: bool, accumulate: torch.dtype) -> Float[Tensor, "n m"]:
    """Both factors span the same two sets of axes, but what is left in one is right in the other (a tied weight)."""
    (R, n, T, _, _), (_, m, S, _, _) = p.right.shape, q.right.shape
    one = _left_against_right(p, q, accumulate)  # (n T, R, m S): left of p against right of q
    other = _left_against_right(q, p, accumulate).permute(1, 2, 0)  # (R, n T, m S): right of p against left of q
    if not keep:
        return torch.einsum("irj,rij->ij", one, other).view(n, T, m, S).sum((1, 3))
    one, other = one.view(n, T, R, m, S), other.view(R, n, T, m, S)
    return torch.einsum("ntqms,rntms->nrmq", one, other).reshape(n * R, m * R)


def _left_against_right(p: Factors, q: Factors, accumulate: torch.dtype) -> Float[Tensor, "nT R mS"]:
    right = q.right[:, :, :, 0].flatten(1, 2).to(accumulate)  # (R, m S, B)
    if p.one_hot is not None:
        return right[:, :, p.left.flatten()].permute(2, 0, 1)
    return torch.einsum("ia,rja->irj", p.left[:, :, 0].flatten(0, 1).to(accumulate), right)


def _same(p: Factors, q: Factors) -> bool:
    return p.axes == q.axes


def _swapped(p: Factors, q: Factors) -> bool:
    return not p.axes.shared and not q.axes.shared and p.axes.left == q.axes.right and p.axes.right == q.axes.left


def gradient_route(
    first: Sequence[Factors], second: Sequence[Factors], sizes: Sizes, workspace: int, accumulate: torch.dtype
) -> Float[Tensor, "n m"]:
    """Form the gradients of some examples at a time and multiply them."""
    return gram_of_rows(
        lambda rows: _gradients(first, rows, accumulate),
        lambda rows: _gradients(second, rows, accumulate),
        sizes,
        prod(first[0].value_sizes),
        workspace,
        accumulate,
        symmetric=first is second,
    )


def _gradients(uses: Sequence[Factors], rows: slice, accumulate: torch.dtype) -> Float[Tensor, "n R P"]:
    total = materialise(uses[0].rows(rows))
    for other in uses[1:]:
        total = total + materialise(other.rows(rows))
    return total.reshape(*total.shape[:2], -1).to(accumulate)


def gram_of_rows(  # type: ignore[no-untyped-def]
    first, second, sizes: Sizes, columns: int, workspace: int, accumulate: torch.dtype, *, symmetric: bool
) -> Float[Tensor, "n m"]:
    """Gram matrix of gradients (n, R, P) that are formed a block of examples at a time.

    Args:
        first, second: slice of examples -> their gradients (n, R, P).
        columns: P.
        symmetric: whether both are the same; then half of the blocks are mirrored.
    """
    kept = sizes.rows_per_example
    kernel = torch.zeros(sizes.left_examples * kept, sizes.right_examples * kept, dtype=accumulate)
    # two blocks of gradients live at once, each beside the unaccumulated one it came from
    width = max(1, workspace // (4 * sizes.directions * columns * accumulate.itemsize))
    for rows in _blocks(sizes.left_examples, width):
        a = _as_rows(first(rows), sizes.keep)
        kernel = kernel.to(a.device)
        for columns_ in _blocks(sizes.right_examples, width):
            if symmetric and columns_.start < rows.start:
                continue
            b = a if symmetric and columns_ == rows else _as_rows(second(columns_), sizes.keep)
            i = slice(rows.start * kept, rows.stop * kept)
            j = slice(columns_.start * kept, columns_.stop * kept)
            kernel[i, j] = a @ b.T
            if symmetric and columns_ != rows:
                kernel[j, i] = kernel[i, j].T
    return kernel


def _as_rows(gradients: Float[Tensor, "n R P"], keep: bool) -> Float[Tensor, "rows columns"]:
    return gradients.flatten(0, 1) if keep else gradients.flatten(1)


def _blocks(total: int, width: int) -> Iterator[slice]:
    for start in range(0, total, width):
        yield slice(start, min(start + width, total))
