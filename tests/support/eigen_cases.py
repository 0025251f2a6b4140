"""Operators with known spectra and the solvers that must agree on them.

A new operator is one entry of OPERATORS, a new solver one entry of SOLVERS; each inherits every test of
test_eigenpairs.py.
"""

from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from tangentlens.eigen.block_lanczos import block_lanczos
from tangentlens.eigen.dense import dense_eigenpairs
from tangentlens.operators import (
    DenseOperator,
    LinearOperator,
    ProductOperator,
    RestrictedOperator,
    SumOperator,
)
from tangentlens.records import Eigenpairs

Solver = Callable[[LinearOperator, int, float], Eigenpairs]


def rotation(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues and random eigenvectors, symmetric to the last bit."""
    Q = rotation(len(values), seed)
    matrix = (Q * values.double()) @ Q.T
    return (matrix + matrix.T) / 2


def uniform(n: int, seed: int = 1) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def modular_addition_kernel(p: int, width: int, seed: int = 0) -> Tensor:
    """Kernel of the paper's MLP with random weights: K = (X X^T) o (S S^T) + H H^T, scaled; n = p^2."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(p * p)
    X = torch.nn.functional.one_hot(torch.stack([index // p, index % p + p], 1), 2 * p).sum(1).double()
    S = X @ torch.randn(2 * p, width, generator=generator, dtype=torch.float64) / (2 * p) ** 0.5
    H = S**2
    return ((X @ X.T) * (S @ S.T) * 4 / (2 * p) + H @ H.T) / width**2


def as_product(matrix: Tensor, **options: object) -> ProductOperator:
    return ProductOperator(lambda V: matrix @ V, tuple(matrix.shape), dtype=matrix.dtype, **options)


def full(size: int, value: float) -> Tensor:
    return torch.full((size,), value, dtype=torch.float64)


_POWERS = torch.logspace(0, -6, 60)

OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "decay": lambda: DenseOperator(with_spectrum(_POWERS)),
    "product": lambda: as_product(with_spectrum(_POWERS)),
    "flat": lambda: DenseOperator(with_spectrum(1 + uniform(60))),
    "indefinite": lambda: DenseOperator(with_spectrum(2 * uniform(60) - 1.5)),
    "negative": lambda: DenseOperator(with_spectrum(-1 - uniform(60))),
    "degenerate 4 and 8": lambda: DenseOperator(
        with_spectrum(torch.cat([full(1, 9), full(4, 5), full(8, 4), uniform(47)]))
    ),
    "cliff of 30": lambda: DenseOperator(with_spectrum(torch.cat([full(1, 9), full(30, 5), uniform(29)]))),
    "cluster": lambda: DenseOperator(with_spectrum(torch.cat([5 + 1e-9 * uniform(12), uniform(48)]))),
    "identity": lambda: DenseOperator(torch.eye(50, dtype=torch.float64)),
    "one row": lambda: DenseOperator(torch.full((1, 1), 3.0, dtype=torch.float64)),
    "sum": lambda: SumOperator([DenseOperator(with_spectrum(_POWERS, s)) for s in (0, 1)]),
    "restricted": lambda: RestrictedOperator(DenseOperator(with_spectrum(_POWERS)), torch.arange(0, 60, 2)),
    "modular addition": lambda: DenseOperator(modular_addition_kernel(7, 64)),
}


def restarted(op: LinearOperator, k: int, tol: float) -> Eigenpairs:
    """Block Lanczos with the smallest basis, which is restarted again and again."""
    with mock.patch("tangentlens.eigen.block_lanczos._BASIS_BYTES", 0):
        return block_lanczos(op, k, tol, block=3, max_products=10_000)


SOLVERS: dict[str, Solver] = {
    "dense": dense_eigenpairs,
    "block lanczos": block_lanczos,
    "single vector": partial(block_lanczos, block=1),
    "wide block": partial(block_lanczos, block=40),
    "restarted": restarted,
    "warm": lambda op, k, tol: block_lanczos(op, k, tol, start=rotation(op.shape[0], 5)[:, : max(1, k // 2)]),
}
