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

from tangentlens.kernels.factored.factors import Factors as Part
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import LinearOperator

_WORKSPACE = 512 * 2**20  # bytes that the temporaries of one block of columns may take


@dataclass(frozen=True)
class FrameParts:
    """The factors of all uses of one parametric tensor, (N, R) alike; their gradients add up."""

    parts: tuple[Part, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Lengths of the canonical axes of the tensor."""
        return self.parts[0].value_sizes


@final
class CompressedKernel(LinearOperator):
    """sum over frames of J_f J_f^T with rows (window, direction), window-major: row i * R + r.

    Args:
        frames: the factors of every parametric tensor of the group.
        directions: how many of the R directions of the factors are rows; the rest are probes.
        name: of the group.
    """

    def __init__(self, frames: Sequence[FrameParts], directions: int, name: str) -> None:
        right = frames[0].parts[0].right
        self.frames, self.directions = tuple(frames), directions
        self.windows = right.shape[1]
        self.shape = (self.windows * directions, self.windows * directions)
        dtypes = {part.right.dtype for frame in frames for part in frame.parts}
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
        pushed = [push(frame, found, rows) for frame, found in zip(self.frames, gradients, strict=True)]
        total: Tensor = sum(pushed[1:], start=pushed[0])
        return total.to(self.dtype)

    def gradients(self, V: Float[Tensor, "m k"]) -> tuple[Tensor, ...]:
        """J^T v of every column: (k, *canonical axes) for each frame."""
        return tuple(pull(frame, V.to(self.dtype), slice(0, self.directions)) for frame in self.frames)

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
        value = max(prod(frame.sizes) for frame in self.frames)
        return max(1, _WORKSPACE // (self.dtype.itemsize * value))


def pull(frame: FrameParts, V: Float[Tensor, "m k"], rows: slice) -> Tensor:
    """J^T v for every column: (k, *canonical axes)."""
    pulled = [_pull_part(part, V, rows) for part in frame.parts]
    return sum(pulled[1:], start=pulled[0])


def push(frame: FrameParts, gradients: Tensor, rows: slice) -> Float[Tensor, "m k"]:
    """J u for every column of gradients (k, *canonical axes): rows (window, direction)."""
    pushed = [_push_part(part, gradients, rows) for part in frame.parts]
    return sum(pushed[1:], start=pushed[0])


def _pull_part(part: Part, V: Float[Tensor, "m k"], rows: slice) -> Tensor:
    right = part.right[rows].transpose(0, 1)  # (N, R, T, H, B)
    N, R, _, H, B = right.shape
    k, A = V.shape[1], _left_axes(part)
    by_window = V.to(right.dtype).reshape(N, R, k).mT  # (N, k, R)
    found = right.new_zeros(H, A, k * B)
    for some in _window_blocks(part, k):
        mixed = torch.bmm(by_window[some], right[some].flatten(2)).unflatten(2, right.shape[2:])  # (n, k, T, H, B)
        tokens = mixed.permute(3, 0, 2, 1, 4).reshape(H, -1, k * B)
        if part.one_hot is not None:
            for h in range(H):
                found[h].index_add_(0, part.left[some].flatten(), tokens[h])
        else:
            left = part.left[some].permute(2, 3, 0, 1).reshape(H, A, -1)  # (H, A, n T)
            found.baddbmm_(left, tokens)
    return _to_canonical(found.unflatten(2, (k, B)).permute(2, 0, 1, 3), part)


def _push_part(part: Part, gradients: Tensor, rows: slice) -> Float[Tensor, "m k"]:
    right = part.right[rows].transpose(0, 1)  # (N, R, T, H, B)
    T, H, B = right.shape[2:]
    u = from_canonical(gradients.to(right.dtype), part)  # (k, H, A, B)
    k = u.shape[0]
    by_left = u.permute(1, 2, 0, 3).reshape(H, -1, k * B)
    pushed = []
    for some in _window_blocks(part, k):
        left = part.left[some]
        if part.one_hot is not None:
            seen = by_left[:, left.flatten()]  # (H, n T, k B)
        else:
            seen = torch.bmm(left.permute(2, 0, 1, 3).reshape(H, -1, left.shape[3]), by_left)
        tokens = seen.reshape(H, -1, T, k, B).permute(1, 2, 0, 4, 3)  # (n, T, H, B, k)
        pushed.append(torch.bmm(right[some].flatten(2), tokens.reshape(-1, T * H * B, k)))
    return torch.cat(pushed).reshape(-1, k)


def _left_axes(part: Part) -> int:
    return part.one_hot if part.one_hot is not None else part.left.shape[3]


def _window_blocks(part: Part, columns: int) -> Iterator[slice]:
    """Windows multiplied at a time: two tensors of (n, T, H, B, k) are alive."""
    _, N, T, H, B = part.right.shape
    width = max(1, _WORKSPACE // (2 * part.right.element_size() * columns * T * H * B))
    return (slice(start, start + width) for start in range(0, N, width))


def _to_canonical(found: Float[Tensor, "k H A B"], part: Part) -> Tensor:
    """(k, H, A, B) -> (k, *canonical axes of the tensor)."""
    factored = (*part.axes.shared, *part.axes.left, *part.axes.right)
    spread = found.reshape(found.shape[0], *(part.value_sizes[axis] for axis in factored))
    order = sorted(range(len(factored)), key=lambda place: factored[place])
    return spread.permute(0, *(1 + place for place in order)).reshape(found.shape[0], *part.value_sizes)


def from_canonical(gradients: Tensor, part: Part) -> Float[Tensor, "k H A B"]:
    """The inverse of `_to_canonical`."""
    factored = (*part.axes.shared, *part.axes.left, *part.axes.right)
    order = sorted(factored)
    compact = gradients.reshape(gradients.shape[0], *(part.value_sizes[axis] for axis in order))
    spread = compact.permute(0, *(1 + order.index(axis) for axis in factored))
    groups = (part.axes.shared, part.axes.left, part.axes.right)
    return spread.reshape(gradients.shape[0], *(prod(part.value_sizes[axis] for axis in group) for group in groups))
