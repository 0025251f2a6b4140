"""The paper's second setting: a one-layer Transformer learns modular addition; each parameter has its own kernel.

Arrays of one seed, E checkpoints, N = p^2 inputs, nine parameters P, K key frequencies:
    epoch (E,) int64; train.loss, train.accuracy, test.loss, test.accuracy (E,)     accuracies in 0..1
    overlap.sum, overlap.axis_sum, overlap.sum.derivative (E,)      of the unembedding, percent (per epoch)
    overlap.null (E, R) float32                                     of the same modes with random feature spaces
    frequencies.kernel, frequencies.embedding (K,) int64            key frequencies found from either
    frequencies.captured (floor(p/2), 2), frequencies.share (floor(p/2),)      what they were found from
    spectrum.group.P (m,), cliffs.group.P (c,) int64                leading eigenvalues, cliffs found by the rule
    film.sum, film.axis_sum (E, m, floor(p/2)) uint8                percent of the unembedding's leading modes at each
                                                                    frequency; m = max(analysis.tracked_modes, 4K + 1)
    tracks.values (E, t), tracks.overlaps (E - 1, t)                the unembedding's leading modes, followed backwards
                                                                    from the last checkpoint; row 0 is the first one
    parameter.P                                                     the network at its last checkpoint
Those that need key frequencies are absent where the kernel names none.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tangentlens.alignment.cliffs import Cliff
from tangentlens.alignment.overlap import overlap_of_bases
from tangentlens.analysis.checkpoints.dynamics import transition
from tangentlens.analysis.evidence.training_curves import accuracy_figures, training_arrays
from tangentlens.analysis.findings import Arrays, Figures, keyed, measurement
from tangentlens.eigen import track_modes
from tangentlens.paper.modular_addition.figures import cliff_arrays, transition_figures
from tangentlens.paper.transformer.config import Config
from tangentlens.paper.transformer.kernel_modes import Dynamics, LastModes, follow, paper_blocks, read_last
from tangentlens.paper.transformer.subject import LAYER_FAMILIES, UNEMBEDDING, key_basis
from tangentlens.paper.transformer.training import TrainedSeed, held_by, trained_seed
from tangentlens.progress import Progress, silent
from tangentlens.records import Measurement, SubspaceOverlap
from tangentlens.store import figure_keys
from tangentlens.store.figure_keys import Frequencies, GroupOverlap, Key, Overlap, SmallestCosine


def measure(config: Config, seed: int, progress: Progress = silent, *, prepared: Path) -> Measurement:
    """Read the kernels of one trained network; experiments/transformer/README.md lists the figures.

    Args:
        config: the setting.
        seed: which network; also of the permutations behind the embedding's key frequencies.
        progress: receives the checkpoints.
        prepared: the folder that `train_together` filled.
    """
    trained = trained_seed(prepared, seed)
    learned = held_by(trained.curves, int(trained.epochs[-1]), config)
    *_, state = trained.states()
    last = read_last(config, state, seed)
    keys = last.kernel.frequencies
    dynamics = follow(config, trained, keys, seed, progress) if keys else None
    overlaps = dynamics.curves.arrays(trained.epochs) if dynamics else {}
    followed = overlaps.get("overlap.sum", torch.zeros(len(trained.curves)))
    times = transition(trained.epochs, trained.curves[:, 4], followed, threshold=config.analysis.onset_accuracy)
    cliffs = {name: config.analysis.cliffs(pairs.values) for name, pairs in last.groups.items()}
    figures = {
        **accuracy_figures(trained.curves),
        **_training_figures(config, trained, learned),
        **_frequency_figures(last),
        **_overlap_figures(config, last, learned),
        **_layer_figures(config, last, learned),
        **transition_figures(times),
        **_cost_figures(last, dynamics),
    }
    arrays = {
        **training_arrays(trained.curves),
        **_last_arrays(last, cliffs, state),
        **(_dynamics_arrays(overlaps, dynamics) if dynamics else {}),
    }
    return measurement(seed, figures, arrays, _notes(last, learned))


def _training_figures(config: Config, trained: TrainedSeed, learned: bool) -> Figures:
    curves, paper = trained.curves, config.training.epochs
    return keyed(
        {
            figure_keys.TEST_ACCURACY_AT_PAPER_EPOCH: 100 * float(curves[curves[:, 0] == paper][0, 4]),
            figure_keys.LEARNED: float(learned),
            figure_keys.LEARNED_BY_PAPER_EPOCH: float(held_by(curves, paper, config)),
            figure_keys.LAST_EPOCH: float(curves[-1, 0]),
            figure_keys.TRAINING_SECONDS: trained.seconds,
        }
    )


def _frequency_figures(last: LastModes) -> Figures:
    kernel, embedding = last.kernel.frequencies, last.embedding.frequencies
    return keyed(
        {
            figure_keys.FREQUENCIES_AGREE: float(kernel == embedding),
            Frequencies("kernel"): float(len(kernel)),
            Frequencies("embedding"): float(len(embedding)),
        }
    )


def _overlap_figures(config: Config, last: LastModes, learned: bool) -> Figures:
    """The unembedding's blocks at the key frequencies; NaN for a network that has not learned the task."""
    keys, unembedding = last.kernel.frequencies, last.groups[UNEMBEDDING]
    first, second, joint = paper_blocks(unembedding, len(keys))
    found: dict[str, tuple[Tensor, str]] = {
        "sum": (first, "sum"),
        "axis_sum": (second, "axis_sum"),
        "joint.sum": (joint, "sum"),
        "joint.axis_sum": (joint, "axis_sum"),
    }
    figures: Figures = {}
    for key, (block, family) in found.items():
        overlap = overlap_of_bases(block, key_basis(family, config.data.p, keys)) if keys and learned else _NOTHING
        smallest = float(overlap.singular_values[-1]) if len(overlap.singular_values) else math.nan
        figures |= keyed({Overlap(f"unembed.{key}"): overlap.percent, SmallestCosine(f"unembed.{key}"): smallest})
    return figures


_NOTHING = SubspaceOverlap(singular_values=torch.zeros(0, dtype=torch.float64), overlap=0.0, rank=0)


def _layer_figures(config: Config, last: LastModes, learned: bool) -> Figures:
    """Percent of a family inside modes 0..4K of each parameter's kernel, and inside as many random directions."""
    keys, p = last.kernel.frequencies, config.data.p
    if not (keys and learned):
        return {}
    bases = {name: key_basis(name, p, keys) for name in LAYER_FAMILIES}
    overlaps: dict[Key, float] = {
        GroupOverlap(group, name): overlap_of_bases(paper_blocks(pairs, len(keys))[2], F).percent
        for group, pairs in last.groups.items()
        for name, F in bases.items()
    }
    return keyed({**overlaps, figure_keys.GROUP_CHANCE: 100 * (4 * len(keys) + 1) / p**2})


def _cost_figures(last: LastModes, dynamics: Dynamics | None) -> Figures:
    """The worst residual is that of the last checkpoint's pairs, all parameters."""
    return keyed(
        {
            figure_keys.WORST_RESIDUAL: max(float(pairs.residuals.max()) for pairs in last.groups.values()),
            figure_keys.KERNEL_SECONDS: last.kernel_seconds,
            figure_keys.EIGEN_SECONDS: last.eigen_seconds,
            figure_keys.DYNAMICS_SECONDS: math.nan if dynamics is None else dynamics.seconds,
        }
    )


def _last_arrays(last: LastModes, cliffs: Mapping[str, Sequence[Cliff]], state: Mapping[str, Tensor]) -> Arrays:
    return {
        "frequencies.kernel": torch.tensor(last.kernel.frequencies, dtype=torch.int64),
        "frequencies.embedding": torch.tensor(last.embedding.frequencies, dtype=torch.int64),
        "frequencies.captured": last.kernel.captured,
        "frequencies.share": last.embedding.share,
        **{f"spectrum.group.{name}": pairs.values for name, pairs in last.groups.items()},
        **cliff_arrays({f"cliffs.group.{name}": found for name, found in cliffs.items()}),
        **{f"parameter.{name}": value for name, value in state.items()},
    }


def _dynamics_arrays(overlaps: Arrays, dynamics: Dynamics) -> Arrays:
    tracks = track_modes(dynamics.pairs[::-1])
    return {**overlaps, "tracks.values": tracks.values.flip(0), "tracks.overlaps": tracks.overlaps.flip(0)}


def _notes(last: LastModes, learned: bool) -> tuple[str, ...]:
    kernel, embedding = (sorted(found.frequencies) for found in (last.kernel, last.embedding))
    unconverged = sum(int((~pairs.converged).sum()) for pairs in last.groups.values())
    missing = (
        (not learned, "this network has not learned the task: it has no overlaps, and counts in learned.share alone"),
        (kernel != embedding, f"the kernel names the key frequencies {kernel}, the embedding {embedding}"),
        (not kernel, "the unembedding's leading modes hold no sum wave: no key frequency, no overlap along training"),
        (unconverged > 0, f"{unconverged} eigenpairs of the last checkpoint did not converge"),
    )
    return tuple(sentence for applies, sentence in missing if applies)
