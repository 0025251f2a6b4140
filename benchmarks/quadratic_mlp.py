"""The paper's MLP: kernels of both layers and their spectrum, against the vmap(jacrev) contraction, and at full size.

    python benchmarks/quadratic_mlp.py                 # p = 29, both sides in turn; takes as long as the contraction
    python benchmarks/quadratic_mlp.py --p 113 --modes 500 --no-contraction

Each side runs in a process of its own, so that its peak memory is its own. Beside the times stands the floor: the
operations that any method must spend on these Gram matrices and this spectrum, over the measured rate of float64
matrix products.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.kernels.budget import multiplication_rate
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.modular_addition.data import one_hot_inputs

WIDTH = 512


def network(p: int) -> tuple[QuadraticMLP, Tensor]:
    """The paper's MLP at its initialisation, and all p^2 inputs; time and memory do not depend on the weights."""
    return QuadraticMLP(p, WIDTH, torch.Generator().manual_seed(0)), one_hot_inputs(p, torch.float32)


def tangentlens(p: int, modes: int, repetitions: int) -> dict[str, object]:
    """Kernels of both layers, then the leading modes of their sum with residuals; median of several runs."""
    model, inputs = network(p)
    kernel_seconds, eigen_seconds = [], []
    for _ in range(repetitions):
        start = time.perf_counter()
        ntk = tl.entk(model, inputs, outputs="trace", groups="parameter")
        middle = time.perf_counter()
        pairs = tl.top_eigenpairs(ntk.total, k=modes, tol=1e-6)
        kernel_seconds.append(middle - start)
        eigen_seconds.append(time.perf_counter() - middle)
    return {
        "kernel_seconds": statistics.median(kernel_seconds),
        "eigen_seconds": statistics.median(eigen_seconds),
        "seconds": statistics.median(map(sum, zip(kernel_seconds, eigen_seconds, strict=True))),
        "worst_residual": float(pairs.residuals.max()),
        "converged": int(pairs.converged.sum()),
        "checksum": float(ntk.total.dense().trace()) if p < 60 else None,
    }


def contraction(p: int) -> dict[str, object]:
    """The textbook way: per-example Jacobians by vmap(jacrev), one contraction a layer, then the full spectrum."""
    model, inputs = network(p)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def outputs(state: dict[str, Tensor], example: Tensor) -> Tensor:
        return torch.func.functional_call(model, state, (example[None],))[0]

    start = time.perf_counter()
    jacobians = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))(parameters, inputs)
    kernels = [
        torch.einsum("Naf,Mbf->NMab", j.flatten(2), j.flatten(2)).diagonal(dim1=2, dim2=3).mean(-1)
        for j in jacobians.values()
    ]
    total = kernels[0] + kernels[1]
    torch.linalg.eigh(total)
    return {"seconds": time.perf_counter() - start, "checksum": float(total.trace())}


def floor(p: int, modes: int) -> dict[str, float]:
    """Operations of three N x N Gram matrices and of the spectrum, over the measured multiplication rate."""
    n, rate = p * p, multiplication_rate(torch.device("cpu"))
    kernels = 2 * n * n * (2 * p + 2 * WIDTH) / 2  # symmetric: half of each Gram matrix
    full = modes == n
    spectrum = 9 * n**3 if full else 2 * n * n * modes  # one product with the modes certifies them
    return {"gflops_per_second": rate / 1e9, "kernel_seconds": kernels / rate, "eigen_seconds": spectrum / rate}


def apart(side: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Run one side in a process of its own; adds its peak memory in GB, what importing takes left out."""
    command = [sys.executable, __file__, "--side", side, "--p", str(arguments.p), "--modes", str(arguments.modes)]
    command += ["--repetitions", str(arguments.repetitions)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_gigabytes() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    """Print both sides, their ratio and the floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--p", type=int, default=29)
    parser.add_argument("--modes", type=int, default=0, help="leading modes; 0 for the full spectrum")
    parser.add_argument("--repetitions", type=int, default=0, help="runs of our side; 0 for 7, or 1 above p = 60")
    parser.add_argument("--no-contraction", action="store_true")
    parser.add_argument("--side", choices=["tangentlens", "contraction"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.modes = arguments.modes or arguments.p**2
    arguments.repetitions = arguments.repetitions or (7 if arguments.p <= 60 else 1)
    if arguments.side:
        before = peak_gigabytes()
        ours = arguments.side == "tangentlens"
        result = tangentlens(arguments.p, arguments.modes, arguments.repetitions) if ours else contraction(arguments.p)
        print(json.dumps({**result, "gigabytes": peak_gigabytes(), "gigabytes_added": peak_gigabytes() - before}))
        return
    print(f"p = {arguments.p}: {arguments.p**2} inputs, {arguments.p} outputs, width {WIDTH}, {arguments.modes} modes")
    print("floor      ", floor(arguments.p, arguments.modes))
    ours = apart("tangentlens", arguments)
    print("tangentlens", ours)
    if not arguments.no_contraction:
        theirs = apart("contraction", arguments)
        print("contraction", theirs)
        print(f"times as fast: {theirs['seconds'] / ours['seconds']:.0f}")
        print(f"share of the peak memory, whole process: {ours['gigabytes'] / theirs['gigabytes']:.4f}")
        print(f"share of the peak memory beyond the imports: {ours['gigabytes_added'] / theirs['gigabytes_added']:.4f}")
        print(f"relative difference of the traces: {abs(ours['checksum'] / theirs['checksum'] - 1):.1e}")


if __name__ == "__main__":
    main()
