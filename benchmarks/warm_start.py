"""Products of cold and warm eigensolves along training: how much the checkpoint before is worth.

    python benchmarks/warm_start.py                  # a minute of training, then 5 pairs of neighbouring checkpoints
    python benchmarks/warm_start.py --epochs 4000 --every 20

Counted are columns multiplied by the kernel, the k of the residuals included on both sides. For each parameter,
number of modes k and tolerance:

    cold      `top_eigenpairs` by block Lanczos from random columns
    warm      the same, started from the eigenvectors of the checkpoint before: it also pays 16 columns that look for a
              mode the start lacks
    perfect   started from the eigenvectors sought, without that search: 2 k, one product to project and one to
              give the residuals. No start can do with fewer, so cold / perfect is the most that could be saved.

The kernels' spectra fall so fast that a cold solve takes few products a mode; a start saves the digits that it brings
and no more, log(change of the space) out of log(tolerance).
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.operators import LinearOperator
from tangentlens.paper.modular_addition.data import token_inputs
from tangentlens.paper.transformer.config import Config, TrainingConfig
from tangentlens.paper.transformer.network import OneLayerTransformer
from tangentlens.paper.transformer.training import train_together, trained_seed

PARAMETERS, PAIRS = ("W_U", "W_in", "W_E"), 5


def checkpoints(epochs: int, every: int) -> Iterator[Mapping[str, LinearOperator]]:
    """Kernels at the last checkpoints of a training run of the paper's Transformer, seed 0."""
    training = TrainingConfig(epochs=epochs, max_epochs=epochs, measure_every=every)
    with tempfile.TemporaryDirectory() as folder:
        trained = trained_seed(train_together(Config(seeds=(0,), training=training), Path(folder)), 0)
        for state in islice(trained.states(), len(trained.epochs) - PAIRS - 1, None):
            yield kernels(state)


def kernels(state: Mapping[str, Tensor]) -> Mapping[str, LinearOperator]:
    """Kernels of the mean logit over all inputs, as in the setting."""
    model = OneLayerTransformer(generator=torch.Generator().manual_seed(0))
    model.load_state_dict(state)
    ntk = tl.entk(model, token_inputs(29), outputs="mean", groups={name: [name] for name in PARAMETERS})
    return {name: ntk[name] for name in PARAMETERS}


def compare(before: LinearOperator, op: LinearOperator, k: int, tol: float) -> tuple[int, int, float]:
    """Products of a cold and of a warm solve, and the share of the space that left it since the checkpoint before."""
    old, new = (tl.top_eigenpairs(o, k=k, method="dense").vectors for o in (before, op))
    cold = tl.top_eigenpairs(op, k=k, tol=tol, method="lanczos")
    warm = tl.top_eigenpairs(op, k=k, tol=tol, method="lanczos", start=old)
    return cold.products, warm.products, 1 - float((old.T @ new).square().sum()) / k


def main() -> None:
    """Print medians over the pairs of checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1000, help="epochs of training")
    parser.add_argument("--every", type=int, default=20, help="epochs between checkpoints; the setting's 20")
    options = parser.parse_args()
    points = list(checkpoints(options.epochs, options.every))
    for name in PARAMETERS:
        for k in (5, 16, 48):
            for tol in (1e-2, 1e-4, 1e-6):
                counts = [compare(a[name], b[name], k, tol) for a, b in pairwise(points)]
                cold, warm, change = (statistics.median(column) for column in zip(*counts, strict=True))
                print(
                    f"{name}, k = {k}, tol {tol:.0e}: cold {cold:.0f}, warm {warm:.0f}: {cold / warm:.1f} times fewer "
                    f"(perfect {2 * k}: {cold / (2 * k):.1f}); the space changed by {change:.0e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
