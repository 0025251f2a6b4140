"""Modes of the Transformer's kernels: of every parameter at the last checkpoint, of the unembedding along training."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tangentlens.analysis.evidence.film import film_features
from tangentlens.analysis.evidence.training_curves import ModeCurves
from tangentlens.eigen import top_eigenpairs
from tangentlens.features.fourier import superpose
from tangentlens.features.key_frequencies import (
    EmbeddingFrequencies,
    KernelFrequencies,
    embedding_frequencies,
    kernel_frequencies,
    modes_holding,
)
from tangentlens.kernels import entk
from tangentlens.operators import LinearOperator
from tangentlens.paper.modular_addition.data import token_inputs
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.subject import LAYER_FAMILIES, UNEMBEDDING, key_basis, network
from tangentlens.paper.transformer.training import TrainedSeed
from tangentlens.progress import Progress
from tangentlens.records import Eigenpairs


@dataclass(frozen=True)
class LastModes:
    """The network at its last checkpoint: every parameter's leading modes, and the key frequencies."""

    groups: Mapping[str, Eigenpairs]
    traces: Mapping[str, float]
    kernel: KernelFrequencies
    embedding: EmbeddingFrequencies
    kernel_seconds: float
    eigen_seconds: float


@dataclass(frozen=True)
class Dynamics:
    """The unembedding along training."""

    curves: ModeCurves
    pairs: tuple[Eigenpairs, ...]
    seconds: float


def read_last(config: Config, state: Mapping[str, Tensor], seed: int) -> LastModes:
    """Compute every parameter's kernel and leading modes at the last checkpoint, and the key frequencies."""
    p, analysis, start = config.data.p, config.analysis, time.perf_counter()
    ntk = entk(network(config, state), token_inputs(p), outputs="mean", groups="parameter")
    middle = time.perf_counter()
    groups = {name: _eigenpairs(config, ntk[name], max(analysis.modes, config.model.d_model)) for name in ntk}
    traces = {name: float(ntk[name].dense().trace()) for name in ntk}
    unembedding = groups[UNEMBEDDING]
    m = modes_holding(unembedding.values, trace=traces[UNEMBEDDING], share=analysis.trace_share)
    return LastModes(
        groups=groups,
        traces=traces,
        kernel=kernel_frequencies(unembedding.vectors[:, :m], p, threshold=analysis.sum_wave_share),
        embedding=embedding_frequencies(state["W_E"][:p], generator=torch.Generator().manual_seed(seed)),
        kernel_seconds=middle - start,
        eigen_seconds=time.perf_counter() - middle,
    )


def _eigenpairs(config: Config, kernel: LinearOperator, most: int) -> Eigenpairs:
    """The leading modes above the noise floor, at most `most`: below it lies rounding, which never converges."""
    values = torch.linalg.eigvalsh(kernel.dense())
    above = int((values > config.analysis.cliff_noise_floor * values[-1]).sum())
    return top_eigenpairs(kernel, k=max(1, min(most, above)), tol=config.analysis.residual_tolerance)


def paper_blocks(pairs: Eigenpairs, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Modes 0..2K, modes 2K + 1..4K, and both together, for K key frequencies."""
    end = 2 * count + 1
    return pairs.vectors[:, :end], pairs.vectors[:, end : end + 2 * count], pairs.vectors[:, : end + 2 * count]


def follow(config: Config, trained: TrainedSeed, keys: tuple[int, ...], seed: int, progress: Progress) -> Dynamics:
    """Record the unembedding's kernel at every checkpoint against the features at the final key frequencies."""
    p, start, total, stage = config.data.p, time.perf_counter(), len(trained.curves), f"seed {seed}: kernels"
    inputs, bases = token_inputs(p), {name: key_basis(name, p, keys) for name in ("sum", "axis_sum")}
    spaces = config.evidence.random_spaces(len(inputs), bases["sum"].shape[1], seed)
    pictures = film_features({name: (superpose(name, LAYER_FAMILIES[name], p),) for name in bases})
    curves = ModeCurves(bases, spaces, pictures)
    modes = max(config.analysis.tracked_modes, 4 * len(keys) + 1)
    pairs: list[Eigenpairs] = []
    progress(stage, 0, total)
    for state in trained.states():
        ntk = entk(network(config, state), inputs, outputs="mean", groups={UNEMBEDDING: [UNEMBEDDING]})
        found = top_eigenpairs(ntk[UNEMBEDDING], k=modes, tol=config.analysis.residual_tolerance)
        first, second, _ = paper_blocks(found, len(keys))
        curves.record({"sum": first, "axis_sum": second}, found.vectors)
        pairs.append(_leading(found, config.analysis.tracked_modes))
        progress(stage, len(pairs), total)
    return Dynamics(curves, tuple(pairs), time.perf_counter() - start)


def _leading(pairs: Eigenpairs, k: int) -> Eigenpairs:
    return replace(
        pairs,
        values=pairs.values[:k],
        vectors=pairs.vectors[:, :k].clone(),
        residuals=pairs.residuals[:k],
        converged=pairs.converged[:k],
    )
