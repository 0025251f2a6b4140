"""Permutation tests that repeat the whole selection: the time of many, and equality with a plain loop on a few.

    python benchmarks/permutation.py                   # 1,000 x 25 modes x 18 layers x 16 labels x 1,024 windows
    python benchmarks/permutation.py --criterion auroc
    python benchmarks/permutation.py --plain 1         # shuffles of the plain loop, by scikit-learn

Beside the time stand the entries of the cumulative sums (shuffles x labels x modes x layers x windows of the train
half), which average precision cannot do without, at the measured rate of a bare cumulative sum: the floor.
"""

import argparse
import time

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from tangentlens.alignment.ranking import CRITERIA
from tangentlens.alignment.selection import held_out_statistic
from tangentlens.statistics.permutation import permutation_test, random_orders

PLAIN = {"auroc": roc_auc_score, "average_precision": average_precision_score}


def random_problem(options: argparse.Namespace, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian scores, labels of an eighth of the windows, every second window in the train half."""
    n = options.windows
    scores = torch.randn(n, options.layers, options.modes, generator=generator, dtype=torch.float64)
    labels = torch.rand(n, options.labels, generator=generator).argsort(dim=0) < n // 8
    return scores, labels, torch.arange(n) % 2 == 0


def plain_statistic(scores: Tensor, labels: Tensor, train: Tensor, criterion: str) -> list[float]:
    """Held-out AUROC of each label: one candidate after another, by scikit-learn."""
    candidates = [sign * column for column in scores.flatten(1).T for sign in (1, -1)]
    found = []
    for y in labels.T:
        values = [PLAIN[criterion](y[train].numpy(), candidate[train].numpy()) for candidate in candidates]
        best = next(c for c, value in zip(candidates, values, strict=True) if value >= max(values) - 1e-12)
        found.append(roc_auc_score(y[~train].numpy(), best[~train].numpy()))
    return found


def cumulative_sum_rate(rows: int, columns: int) -> float:
    """Entries per second of a bare float64 cumulative sum: the best of twenty."""
    values, best = torch.ones(rows, columns, dtype=torch.float64), float("inf")
    for _ in range(20):
        start = time.perf_counter()
        values.cumsum(dim=1)
        best = min(best, time.perf_counter() - start)
    return rows * columns / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--modes", type=int, default=25)
    parser.add_argument("--labels", type=int, default=16)
    parser.add_argument("--criterion", choices=sorted(CRITERIA), default="average_precision")
    parser.add_argument("--plain", type=int, default=0, help="shuffles to repeat by the plain loop (about 1 s a label)")
    options = parser.parse_args()

    scores, labels, train = random_problem(options, torch.Generator().manual_seed(0))
    wall, cpu = time.perf_counter(), time.process_time()
    found = permutation_test(
        held_out_statistic(scores, train, criterion=CRITERIA[options.criterion]),
        labels,
        generator=torch.Generator().manual_seed(1),
        within=train,
        permutations=options.permutations,
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{options.permutations} permutations by {options.criterion}: {wall:.1f} s wall, {cpu:.1f} s CPU")
    half = int(train.sum())
    entries = options.permutations * options.labels * options.modes * options.layers * half
    floor = entries / cumulative_sum_rate(64, half)
    print(f"  {entries:.2e} entries of cumulative sums: {floor:.1f} s on one core at the rate of a bare one")
    print(f"  smallest p {float(found.p.min()):.3f}, family-wise {found.p_global:.3f}: Gaussian scores, random labels")
    if options.plain:
        orders = next(random_orders(train.long(), options.plain, torch.Generator().manual_seed(1), options.plain))
        start = time.perf_counter()
        null = [plain_statistic(scores, labels[order], train, options.criterion) for order in orders]
        seconds = (time.perf_counter() - start) / options.plain
        error = (found.null[: options.plain] - torch.tensor(null, dtype=torch.float64)).abs().max()
        print(f"  plain loop: {seconds:.1f} s a permutation, largest difference {float(error):.1e}")


if __name__ == "__main__":
    main()
