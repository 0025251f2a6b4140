"""Block Lanczos with full re-orthogonalisation, thick restart and warm start."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.krylov import KrylovSpace, RitzPairs
from tangentlens.eigen.residuals import float64_device, with_residuals
from tangentlens.operators import LinearOperator
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs

_BASIS_BYTES = 2**30  # memory of the basis, unless 2 k + 8 blocks need more
_PROBE_COLUMNS, _PROBE_STEPS = 2, 8  # random columns that look for modes a warm start lacks
_CHEAP_PROJECTION = 500  # a smaller projection is diagonalised at every step, a larger one at every tenth more columns


def block_size(k: int) -> int:
    """Columns multiplied at once: an eighth of k, between 8 and 64.

    Wider blocks multiply faster and need more columns in all, a Krylov space of m columns having the degree m / b.
    """
    return min(max(8, k // 8), 64)


def basis_capacity(n: int, k: int, block: int) -> int:
    """Most basis vectors held at once: max(8 k, 1000) in up to 1 GiB, at least 2 k + 8 blocks, at most n."""
    affordable = min(max(8 * k, 1000), _BASIS_BYTES // (8 * n))
    return min(n, max(affordable, 2 * k + 8 * block))


def block_lanczos(
    op: LinearOperator,
    k: int,
    tol: float,
    *,
    block: int | None = None,
    start: Float[Tensor, "n s"] | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Eigenpairs:
    """The k leading eigenpairs from products with K alone.

    A pair counts as settled when its residual in the Krylov relation is below tol / 2 |theta|, or below the rounding of
    the operator's products, 2 eps ||K||: a float32 operator cannot do better, nor can an eigenvalue that is
    zero in exact arithmetic. When all are settled, one product with K gives their residuals, which alone decide
    `converged`.

    A Krylov space that starts from r random columns holds at most r copies of an eigenvalue. As soon as r settled
    values agree within their errors, a block of random columns is sent through as many steps as were taken before;
    again, until nothing new joins them. A warm start is followed by 8 steps with 2 random columns, which show a leading
    mode orthogonal to everything in the start.

    Args:
        op: symmetric (n, n).
        k: number of eigenpairs, 1 <= k <= n.
        tol: relative residual that counts as converged.
        block: columns multiplied at once; by default `block_size(k)`.
        start: (n, s) approximate eigenvectors; need not be orthonormal nor as many as k.
        max_products: columns multiplied by K in all, the k of the residuals included, at least 2 k; by default
            2 n + k.
        seed: of the random columns.

    Raises:
        NumericalError: NaN, infinity or asymmetry in a product; names the operator.
    """
    n = op.shape[0]
    block = min(block or block_size(k), n)
    columns = None if start is None else start.detach().to(float64_device(op)).to(torch.float64)
    widest = block if columns is None else max(block, columns.shape[1] + _PROBE_COLUMNS)
    space = KrylovSpace(op, basis_capacity(n, k, widest), seed)
    task = _Task(k, tol, block, 2 * n if max_products is None else max_products - k, progress)
    pairs = _search(space, task, columns)
    vectors = space.vectors(pairs.coefficients)
    return with_residuals(op, pairs.values.to(vectors.device), vectors, tol, space.products, op.eps)


@dataclass(frozen=True)
class _Task:
    k: int
    tol: float
    block: int
    budget: int  # products before those of the residuals
    progress: Progress

    def allowed(self, space: KrylovSpace, pairs: RitzPairs) -> Float[Tensor, " k"]:
        """(k,) residual norms at which the pairs are settled."""
        return (0.5 * self.tol * pairs.values.abs()).clamp_min(2 * space.rounding)


def _search(space: KrylovSpace, task: _Task, start: Float[Tensor, "n s"] | None) -> RitzPairs:
    """Find the pairs from random columns or from `start`, then look for modes and copies that were missed."""
    task.progress("eigenpairs", 0, task.k)
    if start is not None:
        space.propose(start)
    independent = space.pending or space.propose_random(task.block)
    _grow(space, task, space.pending)
    cleared = float("inf")  # above this value no copy is missed
    if start is not None:
        pairs = _refine(space, task, independent, cleared)
        _probe(space, task, pairs, _PROBE_COLUMNS, _PROBE_STEPS)
    depth = 0  # steps, without those of the probes
    while True:
        begun = space.steps
        pairs = _refine(space, task, independent, cleared)
        depth += space.steps - begun
        if not (_copies_may_miss(space, task, pairs, independent, cleared) and _can_grow(space, task)):
            return pairs
        if not _probe(space, task, pairs, task.block, max(depth, _PROBE_STEPS)):
            cleared = float(pairs.values[_settled(space, task, pairs) - 1])


def _can_grow(space: KrylovSpace, task: _Task) -> bool:
    return space.products < task.budget and space.size < space.dimension


def _probe(space: KrylovSpace, task: _Task, known: RitzPairs, count: int, steps: int) -> bool:
    """Send random columns, and what each product adds to them, through up to `steps` steps, until a Ritz value joins
    the settled ones. Whether one did: it was missed before."""
    settled, allowed = _settled(space, task, known), task.allowed(space, known)
    if settled < len(known.values):
        bar = float(known.values[settled - 1] + known.values[settled]) / 2
    else:
        bar, settled = float(known.values[-1] + allowed[-1]), int((known.values > known.values[-1] + allowed[-1]).sum())
    _restart_if_full(space, task, count)
    space.propose_random(count)
    for _ in range(steps):
        if not (space.newest and _can_grow(space, task)):
            return False
        _grow(space, task, space.newest)
        if int((space.ritz(task.k).values > bar).sum()) > settled:
            return True
    return False


def _grow(space: KrylovSpace, task: _Task, count: int) -> None:
    """One block step within the budget and the memory."""
    count = min(count, task.budget - space.products)
    _restart_if_full(space, task, count)
    space.expand(count)


def _restart_if_full(space: KrylovSpace, task: _Task, count: int) -> None:
    """Restart a full basis on the wanted Ritz vectors and half of the others that fit."""
    if not space.fits(count):
        space.restart(task.k + (space.capacity - space.pending - count - task.k) // 2)


def _refine(space: KrylovSpace, task: _Task, independent: int, cleared: float) -> RitzPairs:
    """Grow the space until the wanted pairs are settled, the budget is spent, the space is everything, or copies of a
    settled value may be missing."""
    while True:
        _grow_unwatched(space, task)
        pairs = space.ritz(task.k)
        allowed = task.allowed(space, pairs)
        unsettled = pairs.residual_norms > allowed
        task.progress("eigenpairs", int((~unsettled).sum()), task.k)
        settled = space.size >= task.k and not bool(unsettled.any())
        if settled or not _can_grow(space, task) or _copies_may_miss(space, task, pairs, independent, cleared):
            return pairs
        if bool(unsettled.any()):
            # directions in which an unsettled pair leaves the space, weighed by what is allowed, largest first
            count = space.turn((pairs.leaving / allowed)[:, unsettled], threshold=0.1)
            _grow(space, task, min(count, task.block))
        else:  # an invariant space, but too small
            _restart_if_full(space, task, task.block)
            _grow(space, task, space.propose_random(task.block))


def _grow_unwatched(space: KrylovSpace, task: _Task) -> None:
    """Block steps without Ritz pairs: until there are k of them, or where they have become dear."""
    target = 1.1 * space.watched if space.watched >= _CHEAP_PROJECTION else task.k
    while space.size < target and space.newest and _can_grow(space, task):
        _grow(space, task, space.newest)


def _settled(space: KrylovSpace, task: _Task, pairs: RitzPairs) -> int:
    """How many leading pairs are settled, up to the first that is not."""
    return int((pairs.residual_norms <= task.allowed(space, pairs)).long().cumprod(0).sum())


def _copies_may_miss(space: KrylovSpace, task: _Task, pairs: RitzPairs, independent: int, cleared: float) -> bool:
    """Whether a group of settled values below `cleared`, equal within their errors, is as large as the columns that
    were independent at the start can show.

    The group of the k-th value does not count: any of its copies will do.
    """
    errors = torch.maximum(pairs.residual_norms, task.allowed(space, pairs))
    apart = pairs.values[:-1] - pairs.values[1:] > errors[:-1] + errors[1:]
    ends = torch.nonzero(apart)[:, 0] + 1  # where the next group begins
    sizes = torch.diff(ends, prepend=ends.new_zeros(1))
    below = pairs.values[ends - 1] < cleared
    return bool((sizes >= independent)[below & (ends <= _settled(space, task, pairs))].any())
