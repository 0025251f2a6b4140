"""The kernel of a parameter group on compressed rows (window, direction), multiplied from factors, never formed.

With the factors of factors.py, dV = sum_t left right^T for every row (i, r), so that for columns v

    J^T v = sum over i, t of  left[i, t] (x) sum_r v[(i, r)] right[r, i, t]        two matrix products
    (K v)[(i, r)] = sum over t of  right[r, i, t] . (left[i, t] . J^T v)           two more

which is 4 N T A B operations a column for a weight (A, B), where the Gram matrix of the rows would cost N^2 R^2 A B.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.factored.factors import Factors
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import LinearOperator

_WORKSPACE = 512 * 2**20  # bytes that the temporaries of one block of columns may take


@dataclass(frozen=True)
class ViewFactors:
    """The factors of all uses of one parameter view, (N, R) alike; their gradients add up."""

    uses: tuple[Factors, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Lengths of the canonical axes of the tensor."""
        return self.uses[0].value_sizes


@final
class CompressedKernel(LinearOperator):
    """sum over parameter views of J_f J_f^T with rows (window, direction), window-major: row i * R + r.

    Args:
        views: the factors of every parameter view of the group.
        directions: how many of the R directions of the factors are rows; the rest are probes.
        name: of the group.
    """

    def __init__(self, views: Sequence[ViewFactors], directions: int, name: str) -> None:
        right = views[0].uses[0].right
        self.views, self.directions = tuple(views), directions
        self.windows = right.shape[1]
        self.shape = (self.windows * directions, self.windows * directions)
        dtypes = {use.right.dtype for view in views for use in view.uses}
        self.dtype, self.device = max(dtypes, key=lambda dtype: dtype.itemsize), right.device
        self.symmetric, self.name = True, name

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
        rows = slice(0, self.directions)
        with plain_torch():
            return torch.cat([self._pushed(block, rows) for block in V.split(self.width, dim=1)], dim=1)

    def _pushed(self, V: Float[Tensor, "m k"], rows: slice) -> Float[Tensor, "n k"]:
        """J at some directions of the factors, times J^T v."""
        return self._push(self.gradients(V), rows)

    def _push(self, gradients: Sequence[Tensor], rows: slice) -> Float[Tensor, "n k"]:
        pushed = [push(view, found, rows) for view, found in zip(self.views, gradients, strict=True)]
        total: Tensor = sum(pushed[1:], start=pushed[0])
        return total.to(self.dtype)

    def gradients(self, V: Float[Tensor, "m k"]) -> tuple[Tensor, ...]:
        """J^T v of every column: (k, *canonical axes) for each view."""
        return tuple(pull(view, V.to(self.dtype), slice(0, self.directions)) for view in self.views)

    def to_all_directions(self, V: Float[Tensor, "m k"]) -> tuple[Float[Tensor, "N s k"], tuple[Tensor, ...]]:
        """J J^T v at every direction of the factors, the probes behind the rows of the kernel included, and J^T v.

        The latter is left out where it is too large to be kept: more columns than `width`.
        """
        blocks: list[Tensor] = []
        kept: tuple[Tensor, ...] = ()
        for block in V.split(self.width, dim=1):
            gradients = self.gradients(block)
            blocks.append(self._push(gradients, slice(None)))
            kept = gradients if V.shape[1] <= self.width else ()
        return torch.unflatten(torch.cat(blocks, dim=1), 0, (self.windows, -1)), kept

    @property
    def width(self) -> int:
        """Columns multiplied at a time."""
        value = max(prod(view.sizes) for view in self.views)
        return max(1, _WORKSPACE // (self.dtype.itemsize * value))


def pull(view: ViewFactors, V: Float[Tensor, "m k"], rows: slice) -> Tensor:
    """J^T v for every column: (k, *canonical axes)."""
    pulled = [_pull_use(use, V, rows) for use in view.uses]
    return sum(pulled[1:], start=pulled[0])


def push(view: ViewFactors, gradients: Tensor, rows: slice) -> Float[Tensor, "m k"]:
    """J u for every column of gradients (k, *canonical axes): rows (window, direction)."""
    pushed = [_push_use(use, gradients, rows) for use in view.uses]
    return sum(pushed[1:], start=pushed[0])


def _pull_use(use: Factors, V: Float[Tensor, "m k"], rows: slice) -> Tensor:
    right = use.right[rows].transpose(0, 1)  # (N, R, T, H, B)
    N, R, _, H, B = right.shape
    k, A = V.shape[1], _left_axes(use)
    by_window = V.to(right.dtype).reshape(N, R, k).mT  # (N, k, R)
    found = right.new_zeros(H, A, k * B)
    for some in _window_blocks(use, k):
        mixed = torch.bmm(by_window[some], right[some].flatten(2)).unflatten(2, right.shape[2:])  # (n, k, T, H, B)
        tokens = mixed.permute(3, 0, 2, 1, 4).reshape(H, -1, k * B)
        if use.one_hot is not None:
            for h in range(H):
                found[h].index_add_(0, use.left[some].flatten(), tokens[h])
        else:
            left = use.left[some].permute(2, 3, 0, 1).reshape(H, A, -1)  # (H, A, n T)
            found.baddbmm_(left, tokens)
    return _to_canonical(found.unflatten(2, (k, B)).permute(2, 0, 1, 3), use)


def _push_use(use: Factors, gradients: Tensor, rows: slice) -> Float[Tensor, "m k"]:
    right = use.right[rows].transpose(0, 1)  # (N, R, T, H, B)
    T, H, B = right.shape[2:]
    u = from_canonical(gradients.to(right.dtype), use)  # (k, H, A, B)
    k = u.shape[0]
    by_left = u.permute(1, 2, 0, 3).reshape(H, -1, k * B)
    pushed = []
    for some in _window_blocks(use, k):
        left = use.left[some]
        if use.one_hot is not None:
            seen = by_left[:, left.flatten()]  # (H, n T, k B)
        else:
            seen = torch.bmm(left.permute(2, 0, 1, 3).reshape(H, -1, left.shape[3]), by_left)
        tokens = seen.reshape(H, -1, T, k, B).permute(1, 2, 0, 4, 3)  # (n, T, H, B, k)
        pushed.append(torch.bmm(right[some].flatten(2), tokens.reshape(-1, T * H * B, k)))
    return torch.cat(pushed).reshape(-1, k)


def _left_axes(use: Factors) -> int:
    return use.one_hot if use.one_hot is not None else use.left.shape[3]


def _window_blocks(use: Factors, columns: int) -> Iterator[slice]:
    """Windows multiplied at a time: two tensors of (n, T, H, B, k) are alive."""
    _, N, T, H, B = use.right.shape
    width = max(1, _WORKSPACE // (2 * use.right.element_size() * columns * T * H * B))
    return (slice(start, start + width) for start in range(0, N, width))


def _to_canonical(found: Float[Tensor, "k H A B"], use: Factors) -> Tensor:
    """(k, H, A, B) -> (k, *canonical axes of the tensor)."""
    factored = (*use.axes.shared, *use.axes.left, *use.axes.right)
    spread = found.reshape(found.shape[0], *(use.value_sizes[axis] for axis in factored))
    order = sorted(range(len(factored)), key=lambda place: factored[place])
    return spread.permute(0, *(1 + place for place in order)).reshape(found.shape[0], *use.value_sizes)


def from_canonical(gradients: Tensor, use: Factors) -> Float[Tensor, "k H A B"]:
    """The inverse of `_to_canonical`."""
    factored = (*use.axes.shared, *use.axes.left, *use.axes.right)
    order = sorted(factored)
    compact = gradients.reshape(gradients.shape[0], *(use.value_sizes[axis] for axis in order))
    spread = compact.permute(0, *(1 + order.index(axis) for axis in factored))
    groups = (use.axes.shared, use.axes.left, use.axes.right)
    return spread.reshape(gradients.shape[0], *(prod(use.value_sizes[axis] for axis in group) for group in groups))
