"""Figures and arrays that both settings on modular addition store."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.alignment.cliffs import Cliff, matches_paper, paper_blocks
from tangentlens.alignment.overlap import centred_basis, overlap_of_bases
from tangentlens.alignment.rotation import rotate_by_frequency
from tangentlens.analysis.checkpoints.dynamics import Transition
from tangentlens.analysis.evidence.linearised import Comparison
from tangentlens.analysis.findings import Arrays, Figures, keyed
from tangentlens.features.fourier import FeatureFamily
from tangentlens.store.figure_keys import (
    CLIFFS_MATCH_PAPER,
    FIRST_CLIFF,
    LAG,
    ONSET,
    PEAK,
    SECOND_CLIFF,
    Linearised,
)


def heatmap_arrays(vectors: Float[Tensor, "N k"], families: Mapping[str, FeatureFamily], p: int) -> Arrays:
    """`heatmap.<family>` (3, floor(p / 2)): percent of one frequency's two features in a block of modes.

    Rows: mode 0, then the paper's two blocks; columns: k = 1..floor(p / 2). NaN where both features are constant.
    """
    blocks = [vectors[:, list(block)] for block in (range(1), *paper_blocks(p))]
    return {f"heatmap.{name}": _heatmap(blocks, family) for name, family in families.items()}


def rotated_arrays(vectors: Float[Tensor, "N k"], p: int) -> Arrays:
    """Both of the paper's blocks after rotation by frequency, and the frequency of each mode.

    `modes.rotated` (N, 8 floor(p / 2)) float32; `modes.frequency` (8 floor(p / 2),) int64.
    """
    blocks = [rotate_by_frequency(vectors[:, list(block)], p) for block in paper_blocks(p)]
    return {
        "modes.rotated": torch.cat([block.vectors for block in blocks], dim=1).to(torch.float32),
        "modes.frequency": torch.cat([block.frequency for block in blocks]),
    }


def transition_figures(times: Transition) -> Figures:
    """Onset of grokking, peak of the overlap's growth, and their distance; NaN where the run has none."""
    return keyed({ONSET: times.onset, PEAK: times.peak, LAG: times.onset_minus_peak})


def cliff_arrays(found: Mapping[str, Sequence[Cliff]]) -> Arrays:
    """The last mode before every cliff, (c,) int64, by the name of the array."""
    return {
        name: torch.tensor([each.last_mode for each in cliffs], dtype=torch.int64) for name, cliffs in found.items()
    }


def cliff_figures(cliffs: Sequence[Cliff], p: int) -> Figures:
    """The first two cliffs after mode 0, NaN where there are fewer, and whether they are the paper's (1 or 0)."""
    positions = [float(cliff.last_mode) for cliff in cliffs if cliff.last_mode > 0] + [math.nan, math.nan]
    paper = float(matches_paper(cliffs, p))
    return keyed({FIRST_CLIFF: positions[0], SECOND_CLIFF: positions[1], CLIFFS_MATCH_PAPER: paper})


def linearised_figures(trained: Comparison, zero: Comparison) -> Figures:
    """The linearised predictor around the trained model and around zero, on held-out rows."""
    return keyed(
        {
            Linearised(name, score): getattr(found, score)
            for name, found in (("trained", trained), ("zero", zero))
            for score in ("r2", "loss_ratio", "accuracy_gap")
        }
    )


def notes(times: Transition, cliffs: Sequence[Cliff], converged: Sequence[bool], p: int) -> tuple[str, ...]:
    """Sentences for the reader about what this run does not have."""
    missing = (
        (math.isnan(times.onset), "test accuracy never crossed the threshold: this seed has no onset of grokking"),
        (math.isnan(times.peak), "the growth of the sum overlap has no peak between the first and the last checkpoint"),
        (
            not matches_paper(cliffs, p),
            f"the cliffs found after modes {[cliff.last_mode for cliff in cliffs]} are not the paper's, "
            f"after modes {[block[-1] for block in paper_blocks(p)]}",
        ),
        (not all(converged), f"eigenpairs of {len(converged) - sum(converged)} kernels did not all converge"),
    )
    return tuple(sentence for applies, sentence in missing if applies)


def _heatmap(blocks: Sequence[Tensor], family: FeatureFamily) -> Float[Tensor, "blocks F"]:
    pairs = [centred_basis(family.at(k)) for k in family.frequencies]
    return torch.stack([_column([overlap_of_bases(block, pair).percent for pair in pairs]) for block in blocks])


def _column(values: Sequence[float]) -> Float[Tensor, " E"]:
    return torch.tensor(values, dtype=torch.float64)
