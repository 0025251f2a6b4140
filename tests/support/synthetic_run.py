"""A run of the mlp setting made up from exact Fourier modes, so that what a report must say is known."""

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tangentlens.paper import about
from tangentlens.pipeline import summarise
from tangentlens.records import Measurement
from tangentlens.store import begin, complete
from tangentlens.store.about import write_about
from tangentlens.store.aliases import current_config
from tangentlens.store.arrays import read_seeds, write_measurement
from tangentlens.store.environment import write_environment
from tangentlens.store.results import write_results

P = 11
HALF = P // 2
FAMILIES = ("n", "m", "sum", "difference", "2n", "2m")
CONFIG = f"""setting = "mlp"
seeds = [0, 1, 2]

[data]
p = {P}
train_fraction = 0.7

[model]
width = 512

[training]
learning_rate = 0.05
epochs = 500
"""


def fourier_modes() -> tuple[Tensor, Tensor]:
    """(N, 8 * HALF) orthonormal modes, first n and m then sum and difference, and the frequency of each."""
    n, m = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
    columns, frequencies = [], []
    for phases in ((n, m), (n + m, n - m)):
        for k in range(1, HALF + 1):
            for phase in phases:
                angle = 2 * math.pi * k * phase.reshape(-1).double() / P
                columns += [angle.cos(), angle.sin()]
                frequencies += [k, k]
    modes = torch.stack(columns, dim=1)
    return (modes / modes.norm(dim=0)).float(), torch.tensor(frequencies)


def synthetic_measurement(seed: int, *, onset: float = 82.0, omit: Sequence[str] = ()) -> Measurement:
    """A plausible seed: accuracy and overlap rise around `onset`, the overlap 8 epochs earlier."""
    random = torch.Generator().manual_seed(seed)
    noise = float(torch.randn(1, generator=random))
    onset = onset + 2 * noise
    epoch = torch.arange(0, 501, 10)
    arrays = _curves(epoch, onset) | _spectra(len(epoch), random) | _heatmaps() | _fits(noise) | _film(epoch)
    figures, units = _figures(onset, noise)
    for name in omit:
        arrays.pop(name)
    return Measurement(seed, figures, units, arrays)


def store_run(
    folder: Path, measurements: Sequence[Measurement], config: str = CONFIG, *, described: bool = True
) -> Path:
    """Store measurements as a complete run, without its report; not described, as an older version stored it."""
    draft = begin(folder, config)
    for measurement in measurements:
        write_measurement(draft.partial, measurement, seconds=4.5)
    write_results(draft.partial / "results.json", summarise(read_seeds(draft.partial)))
    write_environment(draft.partial, {**draft.environment, "seconds": 4.5 * len(measurements)})
    if described:
        write_about(draft.partial, about(current_config(tomllib.loads(config))))
    return complete(draft)


def _curves(epoch: Tensor, onset: float) -> dict[str, Tensor]:
    rise = torch.sigmoid((epoch.double() - onset) / 12)
    early = torch.sigmoid((epoch.double() - onset + 8) / 14)
    total = 4 + 90 * early
    return {
        "epoch": epoch,
        "train.loss": torch.exp(-epoch.double() / 60),
        "test.loss": 1 - 0.98 * rise,
        "train.accuracy": 1 - 0.9 * torch.exp(-epoch.double() / 12),
        "test.accuracy": rise,
        "overlap.input": 60 + 38 * torch.sigmoid((epoch.double() - 30) / 15),
        "overlap.sum": total,
        "overlap.difference": 4 + 85 * early,
        "overlap.sum.derivative": torch.gradient(total, spacing=(epoch.double(),))[0],
    }


def _spectra(checkpoints: int, random: torch.Generator) -> dict[str, Tensor]:
    modes = min(P * P, 16 * HALF)
    level = torch.full((modes,), 0.02, dtype=torch.float64)
    level[0], level[1 : 4 * HALF + 1], level[4 * HALF + 1 : 8 * HALF + 1] = 900.0, 40.0, 4.0
    ramp = torch.linspace(1.2, 0.8, modes, dtype=torch.float64)
    last = (level * ramp * (1 + 0.05 * torch.rand(modes, generator=random).double())).sort(descending=True).values
    growth = torch.linspace(0.3, 1.0, checkpoints).double()[:, None]
    return {
        "spectrum.total": growth * last,
        "spectrum.group.hidden": 0.6 * last,
        "spectrum.group.readout": 0.4 * last,
        "cliffs": torch.tensor([4 * HALF, 8 * HALF]),
    }


def _heatmaps() -> dict[str, Tensor]:
    held = {"n": 1, "m": 1, "2n": 1, "2m": 1, "sum": 2, "difference": 2}
    maps = {}
    for family, block in held.items():
        values = torch.full((3, HALF), 1.5, dtype=torch.float64)
        values[block] = torch.linspace(98, 91, HALF)
        maps[f"heatmap.{family}"] = values
    return maps


def _film(epoch: Tensor) -> dict[str, Tensor]:
    """Percent of mode 0 and both cliffs at each frequency: every mode becomes one wave of its cliff."""
    _, frequency = fourier_modes()
    cliffs = {
        "input": slice(1, 4 * HALF + 1),
        "sum": slice(4 * HALF + 1, None),
        "difference": slice(4 * HALF + 1, None),
    }
    one = (frequency[:, None] == torch.arange(1, HALF + 1)).double()
    grown = 100 * epoch.double() / epoch[-1]
    films = {}
    for family, cliff in cliffs.items():
        held = torch.zeros(8 * HALF + 1, HALF, dtype=torch.float64)
        held[cliff] = one[cliff.start - 1 :][: len(held[cliff])]
        films[f"film.{family}"] = (grown[:, None, None] * held).round().to(torch.uint8)
    return films


def _fits(noise: float) -> dict[str, Tensor]:
    modes, frequency = fourier_modes()
    return {
        "modes.rotated": modes,
        "modes.frequency": frequency,
        "singular_values.sum": torch.linspace(0.99, 0.95, 2 * HALF).double(),
        "singular_values.difference": torch.linspace(0.97, 0.91 - 0.004 * abs(noise), 2 * HALF).double(),
    }


def _figures(onset: float, noise: float) -> tuple[dict[str, float], dict[str, str]]:
    rows = {
        "overlap.first_cliff.percent": (98.4 + 0.1 * noise, "percent"),
        "overlap.sum.percent": (94.4 + 0.4 * noise, "percent"),
        "overlap.difference.percent": (89.4 + 0.5 * noise, "percent"),
        "overlap.sum.smallest_singular_value": (0.95, "ratio"),
        "overlap.difference.smallest_singular_value": (0.906, "ratio"),
        "grokking.onset_epoch": (onset, "epoch"),
        "grokking.overlap_peak_epoch": (onset - 8, "epoch"),
        "grokking.onset_minus_peak_epochs": (8.0 + 0.3 * noise, "epochs"),
        "train.accuracy.final": (100.0, "percent"),
        "test.accuracy.final": (100.0, "percent"),
        "cliffs.first": (4.0 * HALF, "mode"),
        "cliffs.second": (8.0 * HALF, "mode"),
        "cliffs.match_paper": (1.0, "ratio"),
        "linearised.trained.r2": (0.71, "ratio"),
        "linearised.trained.loss_ratio": (13.0, "ratio"),
        "linearised.trained.accuracy_gap": (0.4, "percent"),
        "linearised.zero.r2": (0.52, "ratio"),
        "linearised.zero.loss_ratio": (31.0, "ratio"),
        "linearised.zero.accuracy_gap": (2.4, "percent"),
        "eigenpairs.worst_residual": (3.1e-13, "ratio"),
        "kernel.seconds": (0.9, "seconds"),
        "eigen.seconds": (2.2, "seconds"),
        "training.seconds": (1.1, "seconds"),
    }
    for group, share in (("hidden", 0.9), ("readout", 0.6)):
        for family in FAMILIES:
            rows[f"overlap.group.{group}.{family}.percent"] = (100 * share - 3 * len(family), "percent")
    return {key: value for key, (value, _) in rows.items()}, {key: unit for key, (_, unit) in rows.items()}
