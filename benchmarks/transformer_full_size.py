"""Modular addition at full size (Nanda et al., arXiv 2301.05217): every parameter's kernel and its leading 64 modes.

    python benchmarks/transformer_full_size.py                       # trains for 5 minutes first
    python benchmarks/transformer_full_size.py --minutes 120 --epochs 20000 --weights grokked.safetensors
    python benchmarks/transformer_full_size.py --weights grokked.safetensors      # kernels of stored weights

p = 113, d_model 128, 4 heads, d_mlp 512; cross-entropy on 30 % of the 12,769 pairs as one batch, AdamW with weight
decay 1, learning rate 1e-3 and betas (0.9, 0.98). Training stops at the epoch or the time given, whichever comes first,
and says at which epoch it stands. The kernels are those of the mean logit over all 12,769 inputs; one takes 1.3 GB in
float64, so they are formed, solved and let go one after the other. Training and analysis run in processes of their own,
so that the peak memory is the analysis' own, beyond its imports.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tangentlens as tl
from tangentlens.analysis.subject import Split
from tangentlens.paper.modular_addition.data import labels, token_inputs, train_test_split
from tangentlens.paper.stacked_training import StackedTraining
from tangentlens.paper.training import cross_entropy
from tangentlens.paper.transformer.network import OneLayerTransformer

P, D_MODEL, HEADS, D_MLP, TRAIN_FRACTION = 113, 128, 4, 512, 0.3
MODES, TOLERANCE, EVERY = 64, 1e-6, 100
BUDGET = 6 * 10**9  # bytes, one kernel included


def network(generator: torch.Generator) -> OneLayerTransformer:
    """The network at its initialisation."""
    return OneLayerTransformer(P, D_MODEL, HEADS, D_MLP, generator=generator)


def train(seed: int, epochs: int, minutes: float, weights: Path) -> None:
    """Train until the epoch or the time is reached; print the curves and store the weights."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = token_inputs(P), labels(P)
    split = train_test_split(len(inputs), TRAIN_FRACTION, generator)
    stack = StackedTraining(
        [network(generator)],
        inputs[split.train][None],
        targets[split.train][None],
        objective=lambda logits, y: cross_entropy(logits[:, :P], y),
        optimiser=partial(torch.optim.AdamW, lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98)),
        generators=[generator],
    )
    start = time.perf_counter()
    while stack.epoch < epochs and time.perf_counter() - start < 60 * minutes:
        stack.run_epoch()
        if stack.epoch % EVERY == 0:
            report(stack, split, inputs, targets, start)
    report(stack, split, inputs, targets, start)
    save_file(stack.snapshot(0), weights)


def report(stack: StackedTraining, split: Split, inputs: Tensor, targets: Tensor, start: float) -> None:
    """Print where the training stands."""
    logits = stack.outputs(inputs)[0, :, :P]
    right = (logits.argmax(dim=1) == targets).double()
    print(
        f"epoch {stack.epoch} after {time.perf_counter() - start:.0f} s: "
        f"training loss {float(cross_entropy(logits[split.train], targets[split.train])):.1e}, "
        f"accuracy {float(right[split.train].mean()):.3f}; "
        f"test loss {float(cross_entropy(logits[split.test], targets[split.test])):.1e}, "
        f"accuracy {float(right[split.test].mean()):.3f}",
        flush=True,
    )


def analyse(weights: Path) -> None:
    """Each parameter's kernel and leading modes; a line of JSON each."""
    model, inputs = network(torch.Generator().manual_seed(0)), token_inputs(P)
    model.load_state_dict(load_file(weights))
    before = peak_gigabytes()
    for name, _ in model.named_parameters():
        start, processor = time.perf_counter(), time.process_time()
        ntk = tl.entk(model, inputs, outputs="mean", groups={name: [name]}, method="factored", memory_budget=BUDGET)
        formed = time.perf_counter()
        pairs = tl.top_eigenpairs(ntk[name], k=MODES, tol=TOLERANCE)
        line = {
            "parameter": name,
            "method": ntk.method,
            "kernel_seconds": formed - start,
            "eigen_seconds": time.perf_counter() - formed,
            "processor_seconds": time.process_time() - processor,
            "products": pairs.products,
            "converged": int(pairs.converged.sum()),
            "worst_residual": float(pairs.residuals.max()),
            "smallest_share": float(pairs.values[-1] / pairs.values[0]),
            "gigabytes_added": peak_gigabytes() - before,
        }
        print(json.dumps(line), flush=True)


def peak_gigabytes() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def apart(*arguments: str) -> str:
    """Run this script in a process of its own; what it printed, which is shown as it comes."""
    lines = []
    with subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(process.returncode)
    return "".join(lines)


def main() -> None:
    """Train where no weights are stored, then analyse; print the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--weights", type=Path, help="read from here if it exists, else written there")
    parser.add_argument("--step", choices=["train", "analyse"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "train":
        train(options.seed, options.epochs, options.minutes, options.weights)
        return
    if options.step == "analyse":
        analyse(options.weights)
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or Path(folder) / "weights.safetensors"
        settings = ["--seed", options.seed, "--epochs", options.epochs, "--minutes", options.minutes]
        if not weights.exists():
            apart("--step", "train", "--weights", str(weights), *map(str, settings))
        lines = [json.loads(line) for line in apart("--step", "analyse", "--weights", str(weights)).splitlines()]
    seconds = sum(line["kernel_seconds"] + line["eigen_seconds"] for line in lines)
    print(
        f"{len(lines)} kernels over {P**2} inputs and their {MODES} leading modes: {seconds:.0f} s "
        f"({sum(line['processor_seconds'] for line in lines):.0f} s of processor time), "
        f"{max(line['gigabytes_added'] for line in lines):.1f} GB beyond the imports, "
        f"{sum(line['converged'] for line in lines)} of {MODES * len(lines)} pairs converged, "
        f"worst residual {max(line['worst_residual'] for line in lines):.1e}"
    )


if __name__ == "__main__":
    main()
