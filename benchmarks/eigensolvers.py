"""The eigensolvers: a table of solvers and operators, the linear algebra beneath them, and warm starts along training.

    python benchmarks/eigensolvers.py solvers                   # the table of docs/eigensolvers.md
    python benchmarks/eigensolvers.py libraries                 # torch beside numpy and scipy, in the solvers' shapes
    python benchmarks/eigensolvers.py spectrum                  # N = 841, all modes
    python benchmarks/eigensolvers.py leading --p 113 --modes 500 --blocks 32 64 128
    python benchmarks/eigensolvers.py warm --every 1 --tol 1e-3

Times are medians of several runs, wall clock and CPU seconds of all threads. Beside them the floor: the operations
the method must spend, counted, over the measured rate of float64 matrix products in the shapes it uses.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.eigen.blas import multiply
from tangentlens.eigen.block_lanczos import block_lanczos, block_size
from tangentlens.eigen.dense import dense_eigenpairs
from tangentlens.operators import DenseOperator, LinearOperator, ProductOperator
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.modular_addition.data import labels, one_hot_inputs, train_test_split
from tangentlens.paper.training import TrainingConfig, mean_squared_error, train

WIDTH = 512
Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing(Generic[Result]):
    """Medians over the runs, and what the last run gave."""

    wall: float
    cpu: float
    result: Result


def timed(run: Callable[[], Result], repetitions: int) -> Timing[Result]:
    walls, cpus = [], []
    for _ in range(max(1, repetitions)):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timing(statistics.median(walls), statistics.median(cpus), result)


def kernel_at_initialisation(p: int) -> Tensor:
    """Kernel of the paper's MLP with random weights, both layers: (X X^T) o (S S^T) + H H^T, float64, up to a scale."""
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(p * p)
    a, b = index // p, index % p
    W = torch.randn(2 * p, WIDTH, generator=generator, dtype=torch.float64) / (2 * p) ** 0.5
    S = W[a] + W[p + b]
    H = S**2
    K = S @ S.T
    for rows in range(0, len(K), 1024):
        at = slice(rows, rows + 1024)
        K[at] *= (a[at, None] == a[None, :]).double() + (b[at, None] == b[None, :]).double()
        K[at] *= 4 / (2 * p)
        K[at] += H[at] @ H.T
    return K.div_(WIDTH**2)


Pairs = tuple[Tensor, Tensor]  # values and vectors, in any order


def lapack(op: LinearOperator, k: int, driver: str, **subset: tuple[int, int]) -> Pairs:
    values, vectors = scipy.linalg.eigh(op.dense().numpy(), driver=driver, check_finite=False, **subset)
    return torch.from_numpy(values[-k:]), torch.from_numpy(np.ascontiguousarray(vectors[:, -k:]))


def eigsh(op: LinearOperator, k: int) -> Pairs:
    matrix = op.matrix.numpy() if isinstance(op, DenseOperator) else op.to_scipy()
    start = np.random.default_rng(0).standard_normal(op.shape[0])
    values, vectors = scipy.sparse.linalg.eigsh(matrix, k, which="LA", tol=1e-6, v0=start)
    return torch.from_numpy(values), torch.from_numpy(vectors)


def lobpcg(op: LinearOperator, k: int) -> Pairs:
    torch.manual_seed(0)
    return torch.lobpcg(op.dense(), k, largest=True, tol=1e-8, niter=200)


def ours(op: LinearOperator, k: int) -> Pairs:
    pairs = block_lanczos(op, k, 1e-6)
    return pairs.values, pairs.vectors


SOLVERS: dict[str, Callable[[LinearOperator, int], Pairs]] = {
    "block Lanczos": ours,
    "eigsh": eigsh,
    "LAPACK evr, subset": lambda op, k: lapack(op, k, "evr", subset_by_index=(op.shape[0] - k, op.shape[0] - 1)),
    "LAPACK evd": lambda op, k: lapack(op, k, "evd"),
    "torch.lobpcg": lobpcg,
}


def mlp_kernel(p: int) -> LinearOperator:
    model = QuadraticMLP(p, WIDTH, torch.Generator().manual_seed(0))
    kernel = tl.entk(model, one_hot_inputs(p), check=False, method="factored").total
    return DenseOperator(kernel.dense().double(), name=f"dense, n = {p * p}")


def matrix_free_kernel(examples: int) -> LinearOperator:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 64, generator=generator, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Tanh(), torch.nn.Linear(128, 4)).double()
    kernel = tl.entk(model, inputs, check=False, method="matrix_free", groups="all").total
    return ProductOperator(lambda V: kernel @ V, kernel.shape, name=f"matrix-free, n = {examples}")


def compressed_kernel(windows: int, directions: int, positions: int, left: int, right: int) -> LinearOperator:
    """J J^T with rows (window, direction) from factors, as the sweep of a language model multiplies it; a spectrum that
    falls by powers."""
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(windows * positions, left, generator=generator, dtype=torch.float64)
    A *= torch.arange(1, left + 1) ** -0.5
    B = torch.randn(windows, directions, positions * right, generator=generator, dtype=torch.float64)
    B *= torch.arange(1, directions + 1)[:, None] ** -1.0
    n = windows * directions

    def product(V: Tensor) -> Tensor:
        k = V.shape[1]
        mixed = torch.bmm(V.reshape(windows, directions, k).mT, B)  # (N, k, T B)
        tokens = mixed.reshape(windows, k, positions, right).transpose(1, 2).reshape(windows * positions, k * right)
        gradients = A.T @ tokens
        seen = (A @ gradients).reshape(windows, positions, k, right).permute(0, 1, 3, 2)
        return torch.bmm(B, seen.reshape(windows, positions * right, k)).reshape(n, k)

    return ProductOperator(product, (n, n), name=f"compressed sweep, n = {n}")


def solvers(repetitions: int) -> None:
    """A row for each operator and k: CPU seconds of every solver, and the largest relative residual of its pairs."""
    cases: list[tuple[Callable[[], LinearOperator], tuple[int, ...]]] = [
        (lambda: mlp_kernel(29), (25, 200)),
        (lambda: mlp_kernel(53), (25, 200)),
        (lambda: mlp_kernel(79), (100,)),
        (lambda: matrix_free_kernel(800), (25,)),
        (lambda: compressed_kernel(96, 16, 8, 160, 64), (25,)),
    ]
    print("| operator | k |", " | ".join(SOLVERS), "|")
    print("|---|---:|" + "---:|" * len(SOLVERS), flush=True)
    for make, ks in cases:
        op = make()
        for k in ks:
            cells = [_cell(solve, op, k, repetitions) for solve in SOLVERS.values()]
            print(f"| {op.name} | {k} |", " | ".join(cells), "|", flush=True)


def _cell(solve: Callable[[LinearOperator, int], Pairs], op: LinearOperator, k: int, repetitions: int) -> str:
    timing = timed(lambda: solve(op, k), 1)
    if timing.wall < 5:  # a longer run is its own median
        timing = timed(lambda: solve(op, k), repetitions)
    values, vectors = timing.result
    if len(values) < k:
        return f"{timing.cpu:.3g} s, {len(values)} pairs"
    worst = ((op @ vectors - vectors * values).norm(dim=0) / values.abs()).max()
    return f"{timing.cpu:.3g} s, {float(worst):.0e}"


def libraries(repetitions: int) -> None:
    """CPU milliseconds of products and of whole eigendecompositions, by torch and by numpy or scipy."""
    print("| operation | torch | numpy, scipy | ratio |\n|---|---:|---:|---:|")
    for n in (841, 2809, 6241):
        K = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        K += K.T.clone()
        for columns in (16, 32, 64, 128):
            V = torch.randn(n, columns, dtype=torch.float64)
            by_torch = timed(partial(torch.mm, K, V), 5 * repetitions)
            _print_pair(
                f"product, n = {n}, {columns} columns",
                by_torch,
                timed(partial(np.dot, K.numpy(), V.numpy()), 5 * repetitions),
            )
        if n < 6241:
            by_torch = timed(partial(torch.linalg.eigh, K), repetitions)
            by_scipy = timed(partial(scipy.linalg.eigh, K.numpy(), driver="evd", check_finite=False), repetitions)
            _print_pair(f"eigendecomposition, n = {n}", by_torch, by_scipy)


def _print_pair(name: str, first: Timing[object], second: Timing[object]) -> None:
    ratio = first.cpu / second.cpu
    print(f"| {name} | {1e3 * first.cpu:.3g} ms | {1e3 * second.cpu:.3g} ms | {ratio:.2f} |", flush=True)


def product_rate(K: Tensor, columns: int) -> float:
    """Operations per second of K times `columns` columns, by the library the solver uses: the best of five runs, for a
    floor must not count what else the machine was doing."""
    V = torch.randn(len(K), columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 2 * len(K) ** 2 * columns / min(timed(lambda: multiply(K, V), 1).wall for _ in range(5))


def spectrum(p: int, repetitions: int) -> None:
    """All modes, residuals included, beside LAPACK's 4/3 n^3 + 4/3 n^3 + 2 n^3 + 2 n^3 operations."""
    K = kernel_at_initialisation(p)
    n = len(K)
    timing = timed(lambda: dense_eigenpairs(DenseOperator(K), n, 1e-6), repetitions)
    floor = (4 / 3 + 4 / 3 + 2 + 2) * n**3 / product_rate(K, n)
    print(f"full spectrum of {n} modes: {timing.wall:.3f} s wall, {timing.cpu:.3f} s CPU, floor {floor:.3f} s")
    print(f"  {timing.result.explain()}")


def leading(p: int, modes: int, blocks: list[int], repetitions: int) -> None:
    """The leading modes of a large kernel for several block sizes, with the floor of each."""
    K = kernel_at_initialisation(p)
    n, held = len(K), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    op = ProductOperator(lambda V: multiply(K, V), (n, n), name="kernel")
    for block in blocks or [block_size(modes)]:
        timing = timed(lambda block=block: block_lanczos(op, modes, 1e-6, block=block), repetitions)
        pairs = timing.result
        basis, rate = pairs.products - modes, product_rate(K, block)
        operations = {
            "products": 2 * n**2 * basis,
            "residuals": 2 * n**2 * modes,
            "orthogonality": 4 * n * basis**2,  # two passes of 4 n m b
            "projected problems": 9 * basis**3 / (1 - 1.1**-3),  # at every tenth more columns
            "vectors": 2 * n * basis * modes,
        }
        shares = ", ".join(f"{name} {count / rate:.1f}" for name, count in operations.items())
        print(f"block {block}: {timing.wall:.1f} s wall, {timing.cpu:.1f} s CPU, {pairs.products} products", flush=True)
        print(f"  floor {sum(operations.values()) / rate:.1f} s at {rate / 1e9:.0f} GFLOP/s: {shares}")
        print(f"  {pairs.explain()}")
    chebyshev = 2 * n**2 * 1.1 * modes * 8 * 3
    print(f"Chebyshev-filtered iteration, 3 filters of degree 8 on {1.1 * modes:.0f} columns: {chebyshev / rate:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB, {peak - held:.2f} GiB more than building the kernel took")


def checkpoints(p: int, every: int, epochs: int) -> Iterator[tuple[int, Tensor]]:
    """(epoch, kernel) of the paper's MLP along its training."""
    generator = torch.Generator().manual_seed(0)
    inputs = one_hot_inputs(p)
    split = train_test_split(p * p, 0.7, generator)
    model = QuadraticMLP(p, WIDTH, generator)
    config = TrainingConfig(epochs=epochs, measure_every=every, learning_rate=0.05, weight_decay=0.01)
    for point in train(model, inputs, labels(p), split.train, split.test, mean_squared_error, config, generator):
        yield point.epoch, tl.entk(model, inputs).total.dense().double()


def warm(p: int, modes: int, tol: float, every: int, epochs: int) -> None:
    """Products of a cold and of a warm solve at each checkpoint; the residuals count on both sides."""
    before, ratios = None, []
    for epoch, K in checkpoints(p, every, epochs):
        op = DenseOperator(K)
        cold = block_lanczos(op, modes, tol)
        if before is not None:
            after = block_lanczos(op, modes, tol, start=before)
            ratios.append(cold.products / after.products)
            print(f"epoch {epoch}: cold {cold.products}, warm {after.products}, {ratios[-1]:.1f} times fewer")
        before = cold.vectors
    print(f"median over {len(ratios)} checkpoints: {statistics.median(ratios):.1f} times fewer products")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["solvers", "libraries", "spectrum", "leading", "warm"])
    parser.add_argument("--p", type=int, default=None, help="modulus; 29, or 113 for the large kernel")
    parser.add_argument("--modes", type=int, default=None, help="leading modes; 500, or 25 for warm starts")
    parser.add_argument("--blocks", type=int, nargs="*", default=[], help="block sizes; by default the solver's own")
    parser.add_argument("--repetitions", type=int, default=3, help="runs behind each median")
    parser.add_argument("--tol", type=float, default=1e-6, help="relative residual of the warm starts")
    parser.add_argument("--every", type=int, default=10, help="epochs between checkpoints")
    parser.add_argument("--epochs", type=int, default=200, help="epochs of training")
    options = parser.parse_args()
    if options.case == "solvers":
        solvers(options.repetitions)
    elif options.case == "libraries":
        libraries(options.repetitions)
    elif options.case == "spectrum":
        spectrum(options.p or 29, options.repetitions)
    elif options.case == "leading":
        leading(options.p or 113, options.modes or 500, options.blocks, options.repetitions)
    else:
        warm(options.p or 29, options.modes or 25, options.tol, options.every, options.epochs)


if __name__ == "__main__":
    main()
