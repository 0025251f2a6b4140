"""Kernels of scalars of a language model's logits beside a sweep of the logits, in seconds.

The same windows and groups go through `tl.sweep` twice: in raw geometry with modes, and with outputs= the names of
scalars. A scalar takes one backward pass where the sweep takes one for each direction and probe. Then the kernel solve
of one weight is timed alone: the Gram matrix of N gradients from their factors and its eigenpairs, beside the products
that a matrix-free Lanczos solver would make.

    python benchmarks/scalar_kernels.py [--model google/gemma-3-270m] [--windows 64] [--length 64]
        [--rows 256] [--outputs log_sum_exp entropy] [--without-sweep]
"""

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.eigen import top_eigenpairs
from tangentlens.kernels.factored.factors import Axes, Factors
from tangentlens.language.sweep.compressed import CompressedKernel, ViewFactors
from tangentlens.language.sweep.scalar_kernels import scalar_kernels
from tangentlens.language.sweep.scalars import SCALARS
from tangentlens.operators import DenseOperator

_MODES = 25
_WEIGHT = (2048, 640)  # of a matrix down_proj of Gemma-3-270M: 1.3 million parameters


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def random_factors(rows: int, length: int) -> ViewFactors:
    draw = torch.Generator().manual_seed(0)
    left = torch.randn(rows, length, 1, _WEIGHT[0], generator=draw)
    right = torch.randn(rows, length, 1, _WEIGHT[1], generator=draw)[None]
    return ViewFactors((Factors(left, right, Axes((), (0,), (1,)), None, _WEIGHT),))


def solve_alone(rows: int, length: int) -> None:
    view = random_factors(rows, length)
    formed: list[Tensor] = []
    forming = seconds(lambda: formed.extend(scalar_kernels([view], 2**30)))
    solving = seconds(lambda: top_eigenpairs(DenseOperator(formed[0]), _MODES, method="dense"))
    free = CompressedKernel([view], 1, "products")
    product = seconds(lambda: free.matmat(torch.randn(rows, _MODES)))
    size = _WEIGHT[0] * _WEIGHT[1] / 1e6
    print(f"one solve, {rows} rows of {length} positions x {size:.2f} M parameters:")
    print(f"  Gram matrix {forming:.2f} s, eigenpairs {solving:.2f} s")
    print(f"  {_MODES} products with it, not formed: {product:.2f} s (a solve takes some 300)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="google/gemma-3-270m")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--directions", type=int, default=24)
    parser.add_argument("--outputs", nargs="+", default=["log_sum_exp"], choices=list(SCALARS))
    parser.add_argument("--without-sweep", action="store_true", help="leave out the raw sweep, which takes minutes")
    options = parser.parse_args()
    solve_alone(options.rows, options.length)
    lm = tl.language_model(options.model)
    drawn = torch.Generator().manual_seed(0)
    batch = {"input_ids": torch.randint(1000, 50_000, (options.windows, options.length), generator=drawn)}
    marks: dict[str, float] = {}

    def note(stage: str, done: int, total: int) -> None:
        if done in (1, total):
            marks[f"{stage} {'first' if done == 1 else 'last'}"] = time.perf_counter()

    for names in ([options.outputs[0]], options.outputs) if len(options.outputs) > 1 else (options.outputs,):
        began = time.perf_counter()
        found = tl.sweep(lm, batch, groups="down_proj", outputs=names, modes=_MODES, progress=note)
        took = time.perf_counter() - began
        sweeping = marks["sweep last"] - marks["sweep first"]
        print(f"{', '.join(names)}: {took:.1f} s for {len(found.groups)} layers, {options.windows} windows of", end=" ")
        print(f"{options.length} tokens; of it passes and kernels {sweeping:.1f} s; largest error {found.check:.1e}")
    if not options.without_sweep:
        raw = {"geometry": "raw", "directions": options.directions, "modes": _MODES}
        print(f"raw sweep: {seconds(lambda: tl.sweep(lm, batch, groups='down_proj', **raw)):.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{torch.get_num_threads()} threads, peak memory {peak:.1f} GB")


if __name__ == "__main__":
    main()
