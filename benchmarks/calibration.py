"""Do the statistics err as often as they say? Family-wise error, p-values on nulls, coverage of intervals.

    python benchmarks/calibration.py                       # 400 trials of each
    python benchmarks/calibration.py --trials 100 --permutations 99

Every trial draws new scores and labels that have nothing to do with each other (or a distribution whose figure is
known) and is decided by its seed. Beside each rate stands the interval in which 95 % of such counts fall if the claim
is true.
"""

import argparse

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from tangentlens.alignment.overlap import subspace_overlap
from tangentlens.alignment.ranking import CRITERIA, weighted_auroc
from tangentlens.alignment.selection import held_out_statistic
from tangentlens.statistics.bootstrap import stratified_bootstrap_interval
from tangentlens.statistics.corrections import holm
from tangentlens.statistics.paired import paired_comparison
from tangentlens.statistics.permutation import PermutationTest, p_of_draws, permutation_test
from tangentlens.statistics.subspace_nulls import random_overlaps

LEVEL = 0.05


def report(name: str, hits: int, trials: int, expected: float) -> None:
    """The rate beside the expected one and the central 95 % of the binomial distribution."""
    low, high = (bound / trials for bound in stats.binom.interval(0.95, trials, expected))
    print(f"  {name:<58s} {hits / trials:.4f}  ({expected} in [{low:.4f}, {high:.4f}])", flush=True)


def uniformity(name: str, p_values: list[float], draws: int) -> None:
    """Kolmogorov-Smirnov test; a discrete p is spread over its step 1 / (draws + 1) first."""
    spread = np.array(p_values) - np.random.default_rng(0).random(len(p_values)) / (draws + 1)
    found = stats.kstest(spread, "uniform")
    print(f"  {name:<58s} KS distance {found.statistic:.3f}, p {found.pvalue:.3f}", flush=True)


def random_labels(trial: int, windows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian scores (windows, 2 layers, 5 modes), 8 exclusive classes and 2 labels across them, half of each."""
    generator = torch.Generator().manual_seed(trial)
    scores = torch.randn(windows, 2, 5, generator=generator, dtype=torch.float64)
    classes = torch.arange(windows) % 8
    labels = torch.cat(
        [classes[:, None] == torch.arange(8), (classes < 4)[:, None], (classes % 3 == 0)[:, None]], dim=1
    )
    order = torch.rand(windows // 8, 8, generator=generator).argsort(dim=0)  # of each class
    return scores, labels, (order < windows // 16).flatten()


def permutation_trial(trial: int, options: argparse.Namespace, criterion: str) -> PermutationTest:
    scores, labels, train = random_labels(trial, options.windows)
    return permutation_test(
        held_out_statistic(scores, train, criterion=CRITERIA[criterion]),
        labels,
        generator=torch.Generator().manual_seed(10**6 + trial),
        within=train,
        permutations=options.permutations,
    )


def permutations(options: argparse.Namespace) -> None:
    trials = options.trials
    print(f"random labels, Gaussian scores: {trials} trials, 10 labels, {options.permutations} permutations")
    for criterion in CRITERIA:
        found = [permutation_trial(trial, options, criterion) for trial in range(trials)]
        print(f" layer, mode and sign by {criterion}")
        report("family-wise error of the maximum", sum(f.p_global <= LEVEL for f in found), trials, LEVEL)
        false = sum(bool((holm(f.p) <= LEVEL).any()) for f in found)
        report("family-wise error of Holm (at most)", false, trials, LEVEL)
        uniformity("p of the first label", [float(f.p[0]) for f in found], options.permutations)
        uniformity("p of the maximum", [f.p_global for f in found], options.permutations)


def auroc_intervals(options: argparse.Namespace) -> None:
    """Binormal scores: AUROC = Phi(shift / sqrt 2)."""
    print("bootstrap intervals of a binormal AUROC, 32 positives of 128 windows")
    labels = torch.arange(128)[:, None] < 32
    for shift in (0.0, 1.0, 2.0):
        truth, hits = stats.norm.cdf(shift / 2**0.5), 0
        for trial in range(options.trials):
            generator = torch.Generator().manual_seed(trial)
            scores = torch.randn(128, 1, generator=generator, dtype=torch.float64) + shift * labels
            found = stratified_bootstrap_interval(
                lambda weights, s=scores: weighted_auroc(s, labels, weights),
                labels[:, 0],
                random=np.random.default_rng(trial),
                resamples=options.resamples,
            )
            hits += found.low.item() <= truth <= found.high.item()
        report(f"coverage at AUROC {truth:.3f}", hits, options.trials, 0.95)


def paired_methods(options: argparse.Namespace) -> None:
    """Two methods equally good on 3 labels: correlated scores, the same shift."""
    print(f"two methods equally good, 3 labels, {options.permutations} exchanges")
    found = []
    for trial in range(options.trials):
        generator = torch.Generator().manual_seed(trial)
        labels = torch.rand(128, 3, generator=generator).argsort(dim=0) < 32
        shared, first, second = (torch.randn(128, 3, generator=generator, dtype=torch.float64) for _ in range(3))
        found.append(
            paired_comparison(
                weighted_auroc,
                shared + first + labels,
                shared + second + labels,
                labels,
                torch.zeros(128),
                random=np.random.default_rng(trial),
                resamples=options.resamples,
                permutations=options.permutations,
            )
        )
    trials = options.trials
    report("family-wise error", sum(bool((f.p_family <= LEVEL).any()) for f in found), trials, LEVEL)
    report("error of the macro difference", sum(f.macro_p <= LEVEL for f in found), trials, LEVEL)
    report("coverage, one label", sum(f.low[0].item() <= 0 <= f.high[0].item() for f in found), trials, 0.95)
    covered = sum(f.macro_interval[0] <= 0 <= f.macro_interval[1] for f in found)
    report("coverage, macro difference", covered, trials, 0.95)
    uniformity("p of the first label", [float(f.p[0]) for f in found], options.permutations)
    uniformity("p of the macro difference", [f.macro_p for f in found], options.permutations)


def subspaces(options: argparse.Namespace) -> None:
    print("overlap of random 20-dimensional modes with 8 features, 200 inputs")
    null = random_overlaps(20, 8, 200, draws=9999, generator=torch.Generator().manual_seed(0))
    p_values = []
    for trial in range(options.trials):
        generator = torch.Generator().manual_seed(1 + trial)
        modes, features = (torch.randn(200, width, generator=generator, dtype=torch.float64) for width in (20, 8))
        overlap = torch.tensor(subspace_overlap(modes, features).overlap, dtype=torch.float64)
        p_values.append(float(p_of_draws(null, overlap)))
    report("error", sum(p <= LEVEL for p in p_values), options.trials, LEVEL)
    uniformity("p", p_values, 9999)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--resamples", type=int, default=999)
    parser.add_argument("--windows", type=int, default=96, help="a multiple of 16")
    options = parser.parse_args()
    permutations(options)
    subspaces(options)
    auroc_intervals(options)
    paired_methods(options)


if __name__ == "__main__":
    main()
