"""Overlaps that the paper's settings store, beside those that `tangentlens.analyse` gives for the same network.

    python benchmarks/reproductions_by_analyse.py mlp
    python benchmarks/reproductions_by_analyse.py transformer --seed 1

One seed of the experiment's config is trained and measured as `tangentlens run` does; the trained network, its
Fourier families and its initial state are then the subject of an analysis of any model, once for each number of modes
that a block of the paper ends at. Interventions and the comparison with the initial state take long for spaces of many
columns; no overlap needs them, and without --whole they are left out.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import tangentlens as tl
from tangentlens.config import read_config
from tangentlens.paper.mlp import analysis_subject as mlp
from tangentlens.paper.mlp.measure import measure as measure_mlp
from tangentlens.paper.modular_addition.by_analysis import mode_counts, overlaps_by_analysis
from tangentlens.paper.transformer import analysis_subject as transformer
from tangentlens.paper.transformer.measure import measure as measure_transformer
from tangentlens.paper.transformer.training import train_together

ROOT = Path(__file__).parents[1]


def measured(setting, seed, work):
    """The config, for one seed and with the fewest checkpoints, and what the setting measures."""
    config = read_config(ROOT / "experiments" / setting / "config.toml")
    training = config.training
    config = config.model_copy(
        update={"seeds": (seed,), "training": training.model_copy(update={"measure_every": training.epochs})}
        if setting == "mlp"
        else {"seeds": (seed,)}
    )
    if setting == "mlp":
        return config, measure_mlp(config, seed)
    return config, measure_transformer(config, seed, prepared=train_together(config, work))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=("mlp", "transformer"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="with interventions and the initial state")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        config, stored = measured(options.setting, options.seed, Path(folder))
        middle = time.perf_counter()
        builder = {"mlp": mlp, "transformer": transformer}[options.setting]
        subject, blocks = builder.analysis_subject(config, stored), builder.stored_blocks(config, stored)
        subject = subject if options.whole else replace(subject, sites={}, untrained=None)
        scores = {}
        for count in mode_counts(blocks):
            run = tl.analyse(subject, modes=count, out=Path(folder) / f"{count}", seed=options.seed)
            rows = run.table("alignment")
            scores[count] = dict(zip(zip(rows["feature"], rows["group"], strict=True), rows["score"], strict=True))
        end = time.perf_counter()
    found = overlaps_by_analysis(blocks, scores)
    print(f"{'figure':44s}{'stored':>14s}{'by analyse':>14s}")
    for key, value in found.items():
        print(f"{key:44s}{stored.figures[key]:14.8f}{value:14.8f}")
    worst = max(abs(value - stored.figures[key]) for key, value in found.items())
    print(f"largest difference {worst:.1e}; {middle - start:.0f} s to measure, {end - middle:.0f} s to analyse")


if __name__ == "__main__":
    main()
