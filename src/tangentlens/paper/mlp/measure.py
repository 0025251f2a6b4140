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

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tangentlens.alignment.cliffs import paper_blocks
from tangentlens.alignment.overlap import overlap_of_bases
from tangentlens.analysis.checkpoints.dynamics import transition
from tangentlens.analysis.evidence.film import film_features
from tangentlens.analysis.evidence.linearised import Comparison, compare_linearised
from tangentlens.analysis.evidence.training_curves import ModeCurves, SpectrumCurves, accuracy_figures, training_arrays
from tangentlens.analysis.findings import Figures, keyed, measurement
from tangentlens.features.fourier import FAMILIES, fourier_family
from tangentlens.paper.mlp.config import Config
from tangentlens.paper.mlp.subject import Drawn, KernelModes, draw, eigenpairs, family_bases, paper_modes, read_kernel
from tangentlens.paper.modular_addition.data import one_hot_targets
from tangentlens.paper.modular_addition.figures import (
    cliff_arrays,
    cliff_figures,
    heatmap_arrays,
    linearised_figures,
    notes,
    rotated_arrays,
    transition_figures,
)
from tangentlens.paper.training import Checkpoint, checkpoints
from tangentlens.progress import Progress, silent
from tangentlens.records import Eigenpairs, Measurement, SubspaceOverlap
from tangentlens.store.figure_keys import TRAINING_SECONDS, GroupOverlap, Overlap, SmallestCosine

_PICTURES = {"input": ("n", "m"), "sum": ("sum",), "difference": ("difference",)}  # families of the film


@dataclass(frozen=True)
class _Followed:
    """A network along its training, and the kernel of its last checkpoint."""

    points: list[Checkpoint]
    modes: ModeCurves
    spectra: SpectrumCurves
    last: KernelModes
    overlaps: Mapping[str, SubspaceOverlap]


def measure(config: Config, seed: int, progress: Progress = silent) -> Measurement:
    """Train one network and read its kernel at every checkpoint; experiments/mlp/README.md lists what comes out.

    Args:
        config: the setting.
        seed: of the network.
        progress: receives the checkpoints.

    Raises:
        NumericalError: training diverged.
    """
    p, drawn, bases = config.data.p, draw(config, seed), family_bases(config.data.p)
    found = _follow(config, drawn, bases, seed, progress)
    vectors, end = found.last.pairs.vectors, found.points[-1]
    rows = torch.tensor([point.row for point in found.points], dtype=torch.float64)
    curves = training_arrays(rows)
    overlaps = found.modes.arrays(curves["epoch"])
    times = transition(
        curves["epoch"], curves["test.accuracy"], overlaps["overlap.sum"], threshold=config.analysis.onset_accuracy
    )
    ntk, cliffs = found.last.ntk, config.analysis.cliffs(found.last.pairs.values)
    groups = {name: eigenpairs(ntk[name].dense().to(torch.float64), config) for name in ntk.groups}
    figures = {
        **_overlap_figures(found.overlaps),
        **_group_figures(groups, bases, p),
        **found.spectra.figures(),
        **keyed({TRAINING_SECONDS: end.seconds}),
        **accuracy_figures(rows),
        **transition_figures(times),
        **cliff_figures(cliffs, p),
        **linearised_figures(*_linearised(config, drawn, found.last)),
    }
    arrays = {
        **curves,
        **overlaps,
        **found.spectra.arrays(),
        **{f"spectrum.group.{name}": pairs.values for name, pairs in groups.items()},
        **{f"singular_values.{name}": found.overlaps[name].singular_values for name in ("sum", "difference")},
        **cliff_arrays({"cliffs": cliffs}),
        "modes": vectors.to(torch.float32),
        **{f"parameter.{name}": value for name, value in end.state.items()},
        **heatmap_arrays(vectors, {name: fourier_family(name, p) for name in FAMILIES}, p),
        **rotated_arrays(vectors, p),
    }
    return measurement(seed, figures, arrays, notes(times, cliffs, found.spectra.converged, p))


def _follow(config: Config, drawn: Drawn, bases: Mapping[str, Tensor], seed: int, progress: Progress) -> _Followed:
    """Train the drawn network and record every checkpoint."""
    p, stage, steps = config.data.p, f"seed {seed}: training and kernel", checkpoints(config.training)
    pictures = film_features(
        {name: tuple(fourier_family(each, p) for each in families) for name, families in _PICTURES.items()}
    )
    spaces = config.evidence.random_spaces(len(drawn.inputs), bases["sum"].shape[1], seed)
    modes, spectra = ModeCurves({name: bases[name] for name in _PICTURES}, spaces, pictures), SpectrumCurves()
    points: list[Checkpoint] = []
    progress(stage, 0, steps)
    for point in drawn.train(config.training):
        last = read_kernel(drawn.model, drawn.inputs, config)
        spectra.record(last.pairs, last.kernel_seconds, last.eigen_seconds)
        vectors = last.pairs.vectors
        overlaps = modes.record(paper_modes(vectors, p), vectors[:, : paper_blocks(p)[1].stop])
        points.append(point)
        progress(stage, len(points), steps)
    return _Followed(points, modes, spectra, last, overlaps)


def _linearised(config: Config, drawn: Drawn, last: KernelModes) -> tuple[Comparison, Comparison]:
    """Fit the linearised predictor with the kernel of the trained network, around it and around zero."""
    with torch.no_grad():
        outputs = drawn.model(drawn.inputs)
    targets, rows = one_hot_targets(config.data.p), drawn.split
    return compare_linearised(last.kernel, outputs, targets, rows.train, rows.test, ridge=config.analysis.ridge)


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
