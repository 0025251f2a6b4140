"""Features that the networks of Toy Models of Superposition represent, and those that their kernels' modes recover.

Arrays of one seed, for every regime R of the config and every rescaling T (tau100 for tau = 1, tau033 for 0.33),
n features, k modes:
    step (E,) int64, loss.R (E,)      the training objective before the first step, along training and at the end
    represented.R (n,)                (W^T W)_aa of the trained network
    spectrum.R.T (k,)                 leading eigenvalues
    heatmap.R.T (k, n) float32        |e_i . z^a|, rows modes, columns features, not normalised
    recovery.R.T (n,)                 squared length of z^a inside the leading n modes
    recovery.untrained.R.T (n,)       the same of the network before its training
    cliffs.R.T (c,) int64             last mode before each cliff that the rule finds
"""

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.alignment.cliffs import Cliff
from tangentlens.analysis.findings import Arrays, Figures, keyed, measurement
from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import NumericalError
from tangentlens.features.channels import channel_overlaps
from tangentlens.kernels import entk, outputs
from tangentlens.paper.superposition.config import Config, Regime, tau_name
from tangentlens.paper.superposition.data import sparse_inputs
from tangentlens.paper.superposition.network import (
    SuperpositionNetwork,
    geometric_importance,
    reconstruction_loss,
    represented_features,
)
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs, Measurement
from tangentlens.store.figure_keys import (
    KERNEL_SECONDS,
    TRAINING_SECONDS,
    WORST_RESIDUAL,
    FigureKey,
    KernelFigure,
    NetworkFigure,
    Rising,
)


@dataclass(frozen=True)
class _Trained:
    """One network of a seed before and after its training."""

    inputs: Float[Tensor, "N n"]
    start: SuperpositionNetwork
    model: SuperpositionNetwork
    steps: Int[Tensor, " E"]
    losses: Float[Tensor, " E"]
    seconds: float


@dataclass(frozen=True)
class _Kernel:
    """The leading modes of one kernel, and what they hold of each feature."""

    pairs: Eigenpairs
    overlaps: Float[Tensor, "k n"]
    recovery: Float[Tensor, " n"]
    cliffs: tuple[Cliff, ...]
    seconds: float


def measure(config: Config, seed: int, progress: Progress = silent) -> Measurement:
    """Train the network of every regime and read its kernels; experiments/superposition/README.md lists the figures.

    Args:
        config: the setting.
        seed: of the inputs and the weights of each regime, drawn in this order from one generator.
        progress: receives the kernels.

    Raises:
        NumericalError: training diverged.
    """
    figures: Figures = {}
    arrays: Arrays = {}
    notes: list[str] = []
    stage, total = f"seed {seed}: networks and kernels", len(config.regimes) * len(config.kernel.taus)
    progress(stage, 0, total)
    for regime in config.regimes:
        trained = _train(config, regime, seed)
        represented = represented_features(trained.model.W.detach(), config.analysis.represented)
        figures |= _network_figures(regime, trained, represented)
        arrays |= _network_arrays(regime, trained)
        for tau in config.kernel.taus:
            key = f"{regime.name}.{tau_name(tau)}"
            trained_kernel = _read(trained.model, trained.inputs, tau, config)
            untrained = _read(trained.start, trained.inputs, tau, config)
            figures |= _kernel_figures((regime.name, tau_name(tau)), trained_kernel, untrained, represented, config)
            arrays |= _kernel_arrays(key, trained_kernel, untrained)
            notes += _notes(key, trained_kernel, untrained)
            progress(stage, sum(name.startswith("spectrum.") for name in arrays), total)
    return measurement(seed, {**figures, **_order_figures(figures, config)}, arrays, tuple(notes))


def _train(config: Config, regime: Regime, seed: int) -> _Trained:
    data, generator = config.data, torch.Generator().manual_seed(seed)
    x = sparse_inputs(data.examples, data.features, regime.sparsity, generator=generator)
    start = SuperpositionNetwork(data.features, regime.hidden, generator=generator)
    objective = reconstruction_loss(geometric_importance(data.features, data.importance_ratio))
    model, losses = deepcopy(start), []
    optimiser = torch.optim.Adam(model.parameters(), lr=config.training.learning_rate)
    began = time.perf_counter()
    for _ in range(config.training.steps):
        optimiser.zero_grad()
        loss = objective(model(x), x)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    seconds = time.perf_counter() - began
    optimiser.zero_grad()
    with torch.no_grad():
        losses.append(float(objective(model(x), x)))
    if not math.isfinite(losses[-1]):
        raise NumericalError(f"the loss is {losses[-1]}", where=regime.name, remedy="Lower the learning rate.")
    steps = torch.tensor(
        sorted({*range(0, config.training.steps, config.training.measure_every), config.training.steps})
    )
    return _Trained(x, start, model, steps, torch.tensor(losses, dtype=torch.float64)[steps], seconds)


def _read(model: SuperpositionNetwork, x: Float[Tensor, "N n"], tau: float, config: Config) -> _Kernel:
    """The modes of the N n rows (25,000 in the paper), from products alone.

    The matrix itself would take 5 GB. One product with J and J^T costs about 24 N n m operations a column, a
    few hundred columns give 80 modes, 10 GFLOP for m = 40; the P x P matrix J^T J, P = m n + n, costs 2 N n P^2,
    200 GFLOP there.
    """
    began = time.perf_counter()
    importance = geometric_importance(config.data.features, config.data.importance_ratio).to(torch.float64)
    exact, inputs = deepcopy(model).to(torch.float64), x.to(torch.float64)
    scaled = outputs.full(importance ** (tau / 2))
    ntk = entk(exact, inputs, outputs=scaled, groups="all", method="matrix_free")
    pairs = top_eigenpairs(ntk.total, k=config.kernel.modes, tol=config.kernel.residual_tolerance)
    overlaps = channel_overlaps(pairs.vectors, inputs)
    return _Kernel(
        pairs=pairs,
        overlaps=overlaps,
        recovery=overlaps[: config.data.features].square().sum(dim=0),
        cliffs=config.analysis.cliffs(pairs.values),
        seconds=time.perf_counter() - began,
    )


def _network_figures(regime: Regime, trained: _Trained, represented: Tensor) -> Figures:
    found = {
        "represented.count": float(represented.sum()),
        "loss.final": float(trained.losses[-1]),
        TRAINING_SECONDS: trained.seconds,
    }
    return keyed({NetworkFigure(regime.name, name): value for name, value in found.items()})


def _network_arrays(regime: Regime, trained: _Trained) -> Arrays:
    return {
        "step": trained.steps,
        f"loss.{regime.name}": trained.losses,
        f"represented.{regime.name}": trained.model.W.detach().square().sum(dim=0).to(torch.float64),
    }


def _kernel_figures(
    names: tuple[str, str], found: _Kernel, untrained: _Kernel, represented: Tensor, config: Config
) -> Figures:
    n, level = config.data.features, config.analysis.recovered
    at = [cliff.last_mode for cliff in found.cliffs]
    values = found.pairs.values
    figures = {
        "recovered.count": float((found.recovery >= level).sum()),
        "recovered.untrained.count": float((untrained.recovery >= level).sum()),
        "recovery.represented.percent": 100 * _mean(found.recovery[represented]),
        "recovery.other.percent": 100 * _mean(found.recovery[~represented]),
        "recovery.untrained.represented.percent": 100 * _mean(untrained.recovery[represented]),
        "recovery.untrained.other.percent": 100 * _mean(untrained.recovery[~represented]),
        "trace.leading.percent": 100 * float(values[:n].sum() / values.sum()),
        "cliff.count": float(len(at)),
        "cliff.at_features": float(any(abs(mode + 1 - n) <= 2 for mode in at)),
        WORST_RESIDUAL: float(found.pairs.residuals.max()),
        KERNEL_SECONDS: found.seconds,
    }
    return keyed({KernelFigure(*names, name): value for name, value in figures.items()})


def _kernel_arrays(key: str, found: _Kernel, untrained: _Kernel) -> Arrays:
    return {
        f"spectrum.{key}": found.pairs.values,
        f"heatmap.{key}": found.overlaps.abs().to(torch.float32),
        f"recovery.{key}": found.recovery,
        f"recovery.untrained.{key}": untrained.recovery,
        f"cliffs.{key}": torch.tensor([cliff.last_mode for cliff in found.cliffs], dtype=torch.int64),
    }


def _order_figures(figures: Mapping[str, tuple[float, str]], config: Config) -> Figures:
    """Whether the counts rise strictly from regime to regime, in the config's order (1 or 0)."""
    kinds: dict[str, Callable[[str], FigureKey]] = {
        "represented": lambda name: NetworkFigure(name, "represented.count"),
        **{
            f"recovered.{tau_name(tau)}": partial(KernelFigure, kernel=tau_name(tau), figure="recovered.count")
            for tau in config.kernel.taus
        },
    }
    counts = {kind: [figures[str(key(r.name))][0] for r in config.regimes] for kind, key in kinds.items()}
    return keyed({Rising(kind): float(found == sorted(set(found))) for kind, found in counts.items()})


def _notes(key: str, found: _Kernel, untrained: _Kernel) -> list[str]:
    return [
        f"{key}, {name}: {kernel.pairs.explain()}"
        for name, kernel in (("trained", found), ("untrained", untrained))
        if not bool(kernel.pairs.converged.all())
    ]


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan
