"""Modes that keep their identity while the operator changes: the eigenpairs of successive checkpoints, matched."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.records import Eigenpairs


@dataclass(frozen=True)
class Matching:
    """Which eigenpair of one checkpoint continues which of the checkpoint before.

    Attributes:
        successors: (k,) position j in the later checkpoint of mode i of the earlier one.
        overlaps: (k,) how much of the mode is found again, 0 to 1: |v_i . w_j| for single vectors; between degenerate
            spaces E and F, which are matched whole, ||E^T F|| / sqrt(min(dim E, dim F)), equal for their modes.
    """

    successors: Int[Tensor, " k"]
    overlaps: Float[Tensor, " k"]


@dataclass(frozen=True)
class ModeTracks:
    """Modes followed through T checkpoints; a track is named by its position in the first.

    Attributes:
        positions: (T, k) position of the track among the eigenpairs of the checkpoint.
        values: (T, k) eigenvalue of the track.
        overlaps: (T - 1, k) how much of the track is found again at the next checkpoint; a low one is a break.
    """

    positions: Int[Tensor, "t k"]
    values: Float[Tensor, "t k"]
    overlaps: Float[Tensor, "steps k"]


def degenerate_blocks(pairs: Eigenpairs) -> Int[Tensor, " k"]:
    """(k,) number of the block of each eigenpair; neighbours closer than the sum of their error bounds share one.

    Inside a block the vectors are arbitrary, only their span is determined. Rounding counts as an error: values that
    agree to 1e-12 of the largest or to `Eigenpairs.rounding` are one, so that all pairs beyond the numerical rank are.
    """
    rounding = max(1e-12 * float(pairs.values.abs().max()), pairs.rounding)
    errors = pairs.value_errors.nan_to_num(nan=0.0) + rounding
    apart = pairs.values[:-1] - pairs.values[1:] > errors[:-1] + errors[1:]
    return torch.cat([apart.new_zeros(1), apart]).cumsum(0)


def match_modes(earlier: Eigenpairs, later: Eigenpairs) -> Matching:
    """Match the eigenpairs of successive checkpoints by the largest total squared overlap.

    The overlap of two single vectors is |v . w|. Where eigenvalues are closer than their errors only their space means
    anything: each of its vectors then stands for the whole space, with the share of the other space that it
    holds, so that every assignment inside the block costs the same and order is kept. Solved exactly as a linear
    assignment problem (Jonker & Volgenant 1987, in scipy).

    Raises:
        InvalidInputError: the two have different numbers of rows or of modes.
        NumericalError: a value or a vector is NaN or infinite.
    """
    if earlier.vectors.shape != later.vectors.shape:
        raise InvalidInputError(
            f"modes of shape {tuple(earlier.vectors.shape)} cannot be matched with {tuple(later.vectors.shape)}",
            remedy="Take as many modes of the same inputs at every checkpoint.",
        )
    for which, pairs in (("earlier", earlier), ("later", later)):
        _require_numbers(pairs, f"{which} checkpoint")
    overlaps = _space_overlaps(earlier, later)
    order = torch.linspace(0, 1, len(overlaps), dtype=torch.float64)
    keep_order = 1e-9 * (order[:, None] - order[None, :]) ** 2  # decides between equals alone
    _, successors = linear_sum_assignment((overlaps**2 - keep_order).numpy(), maximize=True)
    found = torch.as_tensor(successors)
    return Matching(found, overlaps[torch.arange(len(found)), found])


def track_modes(checkpoints: Sequence[Eigenpairs]) -> ModeTracks:
    """Follow every mode of the first checkpoint to the last.

    Two modes that cross exchange their positions, not their tracks. A mode that leaves the k leading ones is
    continued by the one that is left over, with an overlap near zero.

    Raises:
        InvalidInputError: no checkpoint, or checkpoints of different shapes.
        NumericalError: a value or a vector is NaN or infinite.
    """
    if not checkpoints:
        raise InvalidInputError("there is no checkpoint to track", remedy="Give at least one.")
    positions, overlaps = [torch.arange(len(checkpoints[0].values))], []
    for earlier, later in pairwise(checkpoints):
        matching = match_modes(earlier, later)
        overlaps.append(matching.overlaps[positions[-1]])
        positions.append(matching.successors[positions[-1]])
    values = [pairs.values.cpu()[at] for pairs, at in zip(checkpoints, positions, strict=True)]
    width = len(positions[0])
    return ModeTracks(
        torch.stack(positions), torch.stack(values), torch.stack(overlaps) if overlaps else torch.zeros(0, width)
    )


def _require_numbers(pairs: Eigenpairs, where: str) -> None:
    if not bool(pairs.values.isfinite().all() and pairs.vectors.isfinite().all()):
        raise NumericalError(
            "the eigenpairs hold NaN or infinity", where=where, remedy="Leave out checkpoints after training diverged."
        )


def _space_overlaps(earlier: Eigenpairs, later: Eigenpairs) -> Float[Tensor, "k k"]:
    """(k, k) overlap of the space of each earlier mode with the space of each later one, 0 to 1."""
    E, F = _membership(earlier), _membership(later)
    squares = (earlier.vectors.T @ later.vectors).cpu() ** 2
    smaller = torch.minimum(E.sum(0)[:, None], F.sum(0)[None, :])
    blocks = (E.T @ squares @ F / smaller).clamp(0, 1).sqrt()
    return E @ blocks @ F.T


def _membership(pairs: Eigenpairs) -> Float[Tensor, "k blocks"]:
    """(k, blocks) one-hot rows: the block of each mode."""
    return torch.nn.functional.one_hot(degenerate_blocks(pairs).cpu()).to(torch.float64)
