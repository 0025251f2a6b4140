"""The paper's Transformer: nine kernels over all 841 inputs, `mean` and `full`, against the vmap(jacrev) contraction.

    python benchmarks/transformer_kernels.py              # the contraction takes most of an hour on one core
    python benchmarks/transformer_kernels.py --inputs 210        # both sides on every fourth input: a few minutes
    python benchmarks/transformer_kernels.py --sides mean full

Each side runs in a process of its own, so that its peak memory is its own:

    mean               ours: nine kernels (841, 841) of the mean logit from one call; median of seven
    full               ours: nine kernels (25230, 25230) in float64, one after the other, since one takes 5.1 GB
    contraction        the textbook way: vmap(jacrev), the full kernel in float32, its mean over both output axes
    contraction_mean   a shrewder way for `mean` alone: the mean logit is differentiated, not the 30 logits

The contraction goes through the parameters one at a time, which favours it: all Jacobians at once take 5.4 GB. It gives
full and mean kernels together, so its time stands against both of ours. Mean kernels are compared entry by entry, full
ones by 1000 rows and columns spread over the matrix, their traces and products with eight columns.

Beside the times stands the floor: the operations of one Gram matrix of either factor of every use, half of each by
symmetry, over the measured rate of float64 matrix products.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tangentlens as tl
from tangentlens.kernels.budget import multiplication_rate
from tangentlens.paper.modular_addition.data import token_inputs
from tangentlens.paper.transformer.network import OneLayerTransformer

P, REPETITIONS = 29, 7
BUDGET = 2 * 10**9  # bytes for what stands beside a full kernel
# positions, width of x (none where it is one-hot or one), width of y, of the nine uses
USES = {
    "W_E": (3, 0, 64),
    "W_pos": (1, 0, 3 * 64),
    "W_Q": (1, 64, 64),
    "W_K": (3, 64, 64),
    "W_V": (3, 64, 64),
    "W_O": (1, 64, 64),
    "W_in": (1, 64, 256),
    "W_out": (1, 256, 64),
    "W_U": (1, 64, 30),
}


def network(inputs: int) -> tuple[OneLayerTransformer, Tensor]:
    """The network at its initialisation (time and memory do not depend on the weights), and inputs evenly spread."""
    rows = torch.linspace(0, P**2 - 1, inputs).round().long()
    return OneLayerTransformer(P, generator=torch.Generator().manual_seed(0)), token_inputs(P)[rows]


def mean(count: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """All nine kernels of the mean logit."""
    model, inputs = network(count)
    costs = []
    for _ in range(REPETITIONS):
        cost, ntk = timed(lambda: tl.entk(model, inputs, outputs="mean", groups="parameter"))
        costs.append(cost)
    return {key: statistics.median(cost[key] for cost in costs) for key in costs[0]}, {
        f"mean.{name}": ntk[name].dense() for name in ntk
    }


def full(count: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Nine full kernels, each let go before the next."""
    model, inputs = network(count)

    def kernel(name: str) -> tuple[Tensor, None]:
        groups = {name: [name]}
        ntk = tl.entk(model, inputs, outputs="full", groups=groups, method="factored", memory_budget=BUDGET)
        return ntk[name].dense(), None

    return one_by_one(kernel)


def contraction(count: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Full kernels by vmap(jacrev) and one contraction a parameter, and their means."""
    model, inputs = network(count)

    def kernel(name: str) -> tuple[Tensor, Tensor]:
        j = jacobian(model, inputs, name, lambda logits: logits)  # (N, C, *shape)
        rows = j.flatten(2).flatten(0, 1)
        found = rows @ rows.T
        return found, found.view(*j.shape[:2], *j.shape[:2]).mean((1, 3))

    return one_by_one(kernel)


def contraction_mean(count: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Kernels of the mean logit by vmap(jacrev) of the mean logit."""
    model, inputs = network(count)

    def kernel(name: str) -> tuple[None, Tensor]:
        rows = jacobian(model, inputs, name, lambda logits: logits.mean()).flatten(1)
        return None, rows @ rows.T

    return one_by_one(kernel)


def jacobian(model: OneLayerTransformer, inputs: Tensor, name: str, output: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, ..., *shape of the parameter) gradients of output(logits) of every example."""

    def outputs(parameter: Tensor, example: Tensor) -> Tensor:
        return output(torch.func.functional_call(model, {name: parameter}, (example[None],))[0])

    parameter = model.get_parameter(name).detach()
    return torch.func.vmap(torch.func.jacrev(outputs), (None, 0))(parameter, inputs).detach()


def one_by_one(
    kernel: Callable[[str], tuple[Tensor | None, Tensor | None]],
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Sums of the costs over the parameters, and of each kernel what is compared."""
    costs, kept = [], {}
    for name in USES:
        cost, (whole, average) = timed(lambda name=name: kernel(name))
        costs.append(cost)
        if whole is not None:
            kept |= {f"full.{name}.{key}": value for key, value in excerpt(whole).items()}
        if average is not None:
            kept[f"mean.{name}"] = average
        del whole, average
    return {key: sum(cost[key] for cost in costs) for key in costs[0]}, kept


def timed(call: Callable[[], object]) -> tuple[dict[str, float], object]:
    """What it returns, and its wall and processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
    }, result


def excerpt(kernel: Tensor) -> dict[str, Tensor]:
    """Of a matrix too large to keep: a block, the trace, products with random columns."""
    spread = torch.linspace(0, len(kernel) - 1, 1000).round().long()
    columns = torch.randn(len(kernel), 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return {
        "block": kernel[spread][:, spread].to(torch.float64),
        "trace": kernel.diagonal().to(torch.float64).sum(),
        "products": kernel @ columns.to(kernel.dtype),
    }


def floor(count: int) -> dict[str, float]:
    """Seconds that the Gram matrices of the factors take at the measured rate."""
    rate = multiplication_rate(torch.device("cpu"))
    pairs, outputs = float(count**2), P + 1
    means, fulls = (
        pairs * sum(t**2 * (left + directions**2 * right) for t, left, right in USES.values())
        for directions in (1, outputs)
    )
    return {"gflops_per_second": rate / 1e9, "mean_seconds": means / rate, "full_seconds": fulls / rate}


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Norm of the difference over the norm, the largest over the parameters, of each thing compared."""
    worst: dict[str, float] = {}
    for key in ours.keys() & theirs.keys():
        a, b = ours[key].double(), theirs[key].double()
        kind = ".".join(part for part in key.split(".") if part not in USES)
        worst[kind] = max(worst.get(kind, 0.0), float((a - b).norm() / b.norm()))
    return worst


SIDES = {side.__name__: side for side in (mean, full, contraction_mean, contraction)}


def apart(side: str, inputs: int, folder: Path) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Run one side in a process of its own; adds its peak memory in GB, what importing takes left out."""
    command = [sys.executable, __file__, "--side", side, "--inputs", str(inputs), "--folder", str(folder)]
    cost = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return cost, load_file(folder / f"{side}.safetensors")


def peak_gigabytes() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def compare(ours: str, theirs: str, costs: dict[str, dict[str, float]], kept: dict[str, dict[str, Tensor]]) -> None:
    """Print the ratios of two sides that were both run."""
    a, b = costs[ours], costs[theirs]
    print(
        f"{ours} against {theirs}: {b['seconds'] / a['seconds']:.0f} times as fast "
        f"({b['processor_seconds'] / a['processor_seconds']:.0f} in processor time), "
        f"share of the peak memory beyond the imports {a['gigabytes_added'] / b['gigabytes_added']:.3f}, "
        f"relative differences {differences(kept[ours], kept[theirs])}"
    )


def main() -> None:
    """Print every side, the ratios and the floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--inputs", type=int, default=P**2, help="how many of the 841 inputs, evenly spread")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        before = peak_gigabytes()
        cost, kept = SIDES[arguments.side](arguments.inputs)
        added = {"gigabytes": peak_gigabytes(), "gigabytes_added": peak_gigabytes() - before}
        save_file(
            {key: value.contiguous() for key, value in kept.items()}, arguments.folder / f"{arguments.side}.safetensors"
        )
        print(json.dumps({**cost, **added}))
        return
    print(f"{arguments.inputs} inputs; floor", floor(arguments.inputs), flush=True)
    costs: dict[str, dict[str, float]] = {}
    kept: dict[str, dict[str, Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in arguments.sides:
            costs[side], kept[side] = apart(side, arguments.inputs, Path(folder))
            print(side, costs[side], flush=True)
    for ours, theirs in (("mean", "contraction"), ("mean", "contraction_mean"), ("full", "contraction")):
        if {ours, theirs} <= costs.keys():
            compare(ours, theirs, costs, kept)


if __name__ == "__main__":
    main()
