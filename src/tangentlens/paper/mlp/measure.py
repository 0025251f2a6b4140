"""The paper's first setting: an MLP learns modular addition, and its kernel is followed through training.

Arrays of one seed, E checkpoints, N = p^2 inputs, h = floor(p/2):
    epoch (E,) int64; train.loss, train.accuracy, test.loss, test.accuracy (E,)     accuracies in 0..1
    overlap.input, overlap.sum, overlap.difference, overlap.sum.derivative (E,)     percent (per epoch)
    overlap.null (E, R) float32                                     of the second block with random feature spaces
    film.input, film.sum, film.difference (E, 8h + 1, h) uint8      percent of each mode at each frequency
    spectrum.total (E, 16h), spectrum.group.P (16h,), cliffs (c,)   leading eigenvalues, cliffs found by the rule
    heatmap.<family> (3, h)                                         percent of each frequency in mode 0 and both blocks
    modes (N, 16h), modes.rotated (N, 8h) float32, modes.frequency (8h,) int64      at the last checkpoint
    parameter.P                                                     the network at its last checkpoint
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from tangentlens.alignment.cliffs import Cliff, paper_blocks
from tangentlens.alignment.overlap import centred_basis, overlap_of_bases
from tangentlens.analysis.cliff_rule import CliffConfig
from tangentlens.analysis.dynamics import central_differences, transition
from tangentlens.analysis.findings import Arrays, Figures, keyed, measurement
from tangentlens.analysis.linearised import Comparison, compare_linearised
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.analysis.section import Section
from tangentlens.analysis.subject import Split
from tangentlens.eigen import top_eigenpairs
from tangentlens.features.fourier import FAMILIES, FeatureFamily, fourier_family
from tangentlens.kernels import EmpiricalNTK, entk
from tangentlens.operators import DenseOperator
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.modular_addition.data import labels, one_hot_inputs, one_hot_targets, train_test_split
from tangentlens.paper.modular_addition.figures import (
    accuracy_figures,
    cliff_figures,
    heatmap_arrays,
    linearised_figures,
    notes,
    rotated_arrays,
    training_arrays,
    transition_figures,
)
from tangentlens.paper.modular_addition.film import FilmFeatures, film_arrays, film_features, film_frame
from tangentlens.paper.training import Checkpoint, TrainingConfig, checkpoints, mean_squared_error, train
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs, Measurement, SubspaceOverlap
from tangentlens.statistics.subspace_nulls import random_feature_overlaps
from tangentlens.store.figure_keys import (
    EIGEN_SECONDS,
    KERNEL_SECONDS,
    TRAINING_SECONDS,
    WORST_RESIDUAL,
    GroupOverlap,
    Overlap,
    SmallestCosine,
)


class DataConfig(Section):
    """Modular addition over all p^2 pairs."""

    p: int = Field(default=29, ge=5, description="modulus; there are p^2 inputs")
    train_fraction: float = Field(default=0.7, gt=0, lt=1, description="share of the pairs to train on")


class ModelConfig(Section):
    """The quadratic MLP."""

    width: int = Field(default=512, ge=1, description="hidden units")


class AnalysisConfig(CliffConfig):
    """How the kernel is read."""

    residual_tolerance: float = Field(default=1e-6, gt=0, description="largest relative residual of a good eigenpair")
    onset_accuracy: float = Field(default=0.5, gt=0, lt=1, description="test accuracy whose crossing is the onset")
    ridge: float = Field(default=1e-6, ge=0, description="of the linearised predictor, relative to the mean diagonal")


class Config(Section):
    """The first setting of the paper; every default is the paper's where the paper has one."""

    setting: Literal["mlp"] = Field(default="mlp", description="which setting this config belongs to")
    seeds: tuple[int, ...] = Field(default=tuple(range(10)), min_length=1, description="one network for each seed")
    data: DataConfig = Field(default=DataConfig(), description="the task")
    model: ModelConfig = Field(default=ModelConfig(), description="the network")
    training: TrainingConfig = Field(
        default=TrainingConfig(epochs=500, measure_every=10, learning_rate=0.05, weight_decay=0.01),
        description="how it is trained, on the mean squared error",
    )
    analysis: AnalysisConfig = Field(default=AnalysisConfig(), description="how the kernel is read")
    evidence: EvidenceConfig = Field(default=EvidenceConfig(), description="how its claims are tested")


@dataclass(frozen=True)
class Drawn:
    """What a seed decides before training: the split, then the weights; the generator goes on to the mini-batches."""

    inputs: Float[Tensor, "N inputs"]
    labels: Int[Tensor, " N"]
    split: Split
    model: QuadraticMLP
    generator: torch.Generator

    def train(self, training: TrainingConfig) -> Iterator[Checkpoint]:
        """Train the model in place, on the mean squared error."""
        rows = self.split
        return train(
            self.model, self.inputs, self.labels, rows.train, rows.test, mean_squared_error, training, self.generator
        )


def draw(config: Config, seed: int) -> Drawn:
    """The data and the untrained network of a seed."""
    p, generator = config.data.p, torch.Generator().manual_seed(seed)
    inputs = one_hot_inputs(p)
    split = train_test_split(len(inputs), config.data.train_fraction, generator)
    return Drawn(inputs, labels(p), split, QuadraticMLP(p, config.model.width, generator), generator)


@dataclass(frozen=True)
class KernelModes:
    """The kernel of the model as it stands, with its leading eigenpairs."""

    ntk: EmpiricalNTK
    kernel: Float[Tensor, "N N"]
    pairs: Eigenpairs
    kernel_seconds: float
    eigen_seconds: float


@dataclass(frozen=True)
class _Record:
    """What is kept of one checkpoint."""

    checkpoint: Checkpoint
    spectrum: Float[Tensor, " m"]
    overlaps: Mapping[str, SubspaceOverlap]
    null_overlaps: Float[Tensor, " R"]
    film: Arrays
    worst_residual: float
    converged: bool
    kernel_seconds: float
    eigen_seconds: float


def measure(config: Config, seed: int, progress: Progress = silent) -> Measurement:
    """Train one network and read its kernel at every checkpoint; experiments/mlp/README.md lists what comes out.

    Args:
        config: the setting.
        seed: of the network.
        progress: receives the checkpoints.

    Raises:
        NumericalError: training diverged.
    """
    p, drawn = config.data.p, draw(config, seed)
    families, bases = {name: fourier_family(name, p) for name in FAMILIES}, family_bases(p)
    records, last = _follow(config, drawn, bases, seed, progress)
    groups = {name: _eigenpairs(last.ntk[name].dense().to(torch.float64), config) for name in last.ntk.groups}
    curves, cliffs, vectors = _curves(records), config.analysis.cliffs(last.pairs.values), last.pairs.vectors
    times = transition(
        curves["epoch"], curves["test.accuracy"], curves["overlap.sum"], threshold=config.analysis.onset_accuracy
    )
    return measurement(
        seed,
        figures={
            **_overlap_figures(records[-1].overlaps),
            **_group_figures(groups, bases, p),
            **_cost_figures(records),
            **accuracy_figures(records[-1].checkpoint),
            **transition_figures(times),
            **cliff_figures(cliffs, p),
            **linearised_figures(*_linearised(config, drawn, last)),
        },
        arrays={
            **curves,
            **_last_arrays(records[-1], groups, cliffs),
            "modes": vectors.to(torch.float32),
            **{f"parameter.{name}": value for name, value in records[-1].checkpoint.state.items()},
            **heatmap_arrays(vectors, families, p),
            **rotated_arrays(vectors, p),
        },
        notes=notes(times, cliffs, [record.converged for record in records], p),
    )


def _follow(
    config: Config, drawn: Drawn, bases: Mapping[str, Tensor], seed: int, progress: Progress
) -> tuple[list[_Record], KernelModes]:
    """Train the drawn network; what is kept of every checkpoint, and the kernel of the last one."""
    p = config.data.p
    pictured = film_features(_film_families(p))
    nulls = config.evidence.random_spaces(len(drawn.inputs), bases["sum"].shape[1], seed)
    records: list[_Record] = []
    stage, steps = f"seed {seed}: training and kernel", checkpoints(config.training)
    progress(stage, 0, steps)
    for checkpoint in drawn.train(config.training):
        kernel_modes = read_kernel(drawn.model, drawn.inputs, config)
        records.append(_record(checkpoint, kernel_modes, bases, nulls, pictured, p))
        progress(stage, len(records), steps)
    return records, kernel_modes


def _linearised(config: Config, drawn: Drawn, last: KernelModes) -> tuple[Comparison, Comparison]:
    """The linearised predictor with the kernel of the trained network, around it and around zero."""
    with torch.no_grad():
        outputs = drawn.model(drawn.inputs)
    targets, rows = one_hot_targets(config.data.p), drawn.split
    return compare_linearised(last.kernel, outputs, targets, rows.train, rows.test, ridge=config.analysis.ridge)


def family_bases(p: int) -> dict[str, Float[Tensor, "N r"]]:
    """Centred orthonormal bases of the Fourier families, and of n and m together as "input"."""
    families = {name: fourier_family(name, p) for name in FAMILIES}
    bases = {name: centred_basis(family.matrix) for name, family in families.items()}
    return {**bases, "input": centred_basis(torch.cat([families["n"].matrix, families["m"].matrix], dim=1))}


def block_overlaps(vectors: Float[Tensor, "N k"], bases: Mapping[str, Tensor], p: int) -> dict[str, SubspaceOverlap]:
    """What the paper reports: its first block against n and m, its second against the sum and the difference."""
    first, second = (vectors[:, list(block)] for block in paper_blocks(p))
    return {
        "input": overlap_of_bases(first, bases["input"]),
        "sum": overlap_of_bases(second, bases["sum"]),
        "difference": overlap_of_bases(second, bases["difference"]),
    }


def read_kernel(model: QuadraticMLP, inputs: Float[Tensor, "N inputs"], config: Config) -> KernelModes:
    """Kernel and leading eigenpairs of the model as it stands."""
    start = time.perf_counter()
    ntk = entk(model, inputs, outputs="trace", groups="parameter")
    kernel = ntk.total.dense().to(torch.float64)
    middle = time.perf_counter()
    pairs = _eigenpairs(kernel, config)
    return KernelModes(ntk, kernel, pairs, middle - start, time.perf_counter() - middle)


def _eigenpairs(kernel: Float[Tensor, "N N"], config: Config) -> Eigenpairs:
    """Both of the paper's blocks and as many modes again, as far as the kernel has them."""
    k = min(len(kernel), 16 * (config.data.p // 2))
    return top_eigenpairs(DenseOperator(kernel), k=k, tol=config.analysis.residual_tolerance)


def _film_families(p: int) -> dict[str, tuple[FeatureFamily, ...]]:
    """What the paper's first block is about, then its second."""
    blocks = {"input": ("n", "m"), "sum": ("sum",), "difference": ("difference",)}
    return {name: tuple(fourier_family(family, p) for family in families) for name, families in blocks.items()}


def _record(
    checkpoint: Checkpoint,
    kernel_modes: KernelModes,
    bases: Mapping[str, Tensor],
    nulls: Tensor,
    pictured: FilmFeatures,
    p: int,
) -> _Record:
    pairs = kernel_modes.pairs
    return _Record(
        checkpoint=checkpoint,
        spectrum=pairs.values,
        overlaps=block_overlaps(pairs.vectors, bases, p),
        null_overlaps=random_feature_overlaps(pairs.vectors[:, list(paper_blocks(p)[1])], nulls),
        film=film_frame(pairs.vectors[:, : paper_blocks(p)[1].stop], pictured),
        worst_residual=float(pairs.residuals.max()),
        converged=bool(pairs.converged.all()),
        kernel_seconds=kernel_modes.kernel_seconds,
        eigen_seconds=kernel_modes.eigen_seconds,
    )


def _last_arrays(last: _Record, groups: Mapping[str, Eigenpairs], cliffs: tuple[Cliff, ...]) -> Arrays:
    return {
        **{f"spectrum.group.{name}": pairs.values for name, pairs in groups.items()},
        **{f"singular_values.{name}": last.overlaps[name].singular_values for name in ("sum", "difference")},
        "cliffs": torch.tensor([cliff.last_mode for cliff in cliffs], dtype=torch.int64),
    }


def _curves(records: list[_Record]) -> Arrays:
    arrays = training_arrays([record.checkpoint for record in records])
    for name in ("input", "sum", "difference"):
        percents = [record.overlaps[name].percent for record in records]
        arrays[f"overlap.{name}"] = torch.tensor(percents, dtype=torch.float64)
    arrays["overlap.sum.derivative"] = central_differences(arrays["epoch"], arrays["overlap.sum"])
    arrays["overlap.null"] = torch.stack([record.null_overlaps for record in records]).to(torch.float32)
    arrays["spectrum.total"] = torch.stack([record.spectrum for record in records])
    return {**arrays, **film_arrays([record.film for record in records])}


def _overlap_figures(overlaps: Mapping[str, SubspaceOverlap]) -> Figures:
    figures = keyed({Overlap("first_cliff"): overlaps["input"].percent})
    for name in ("sum", "difference"):
        found = overlaps[name]
        figures |= keyed({Overlap(name): found.percent, SmallestCosine(name): float(found.singular_values[-1])})
    return figures


def _group_figures(groups: Mapping[str, Eigenpairs], bases: Mapping[str, Tensor], p: int) -> Figures:
    """Percent of a family inside the modes of both blocks of one parameter's own kernel."""
    modes = [mode for block in paper_blocks(p) for mode in block]
    return keyed(
        {
            GroupOverlap(group, name): overlap_of_bases(pairs.vectors[:, modes], bases[name]).percent
            for group, pairs in groups.items()
            for name in ("n", "m", "sum", "difference")
        }
    )


def _cost_figures(records: list[_Record]) -> Figures:
    """The worst residual of all checkpoints, and seconds summed over them."""
    return keyed(
        {
            WORST_RESIDUAL: max(record.worst_residual for record in records),
            KERNEL_SECONDS: sum(record.kernel_seconds for record in records),
            EIGEN_SECONDS: sum(record.eigen_seconds for record in records),
            TRAINING_SECONDS: records[-1].checkpoint.seconds,
        }
    )
