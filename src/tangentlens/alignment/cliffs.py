"""Cliffs: places where a spectrum drops further, on the log scale, than its surroundings let one expect."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError


@dataclass(frozen=True)
class Cliff:
    """One cliff of a spectrum.

    Attributes:
        last_mode: index (from 0) of the last mode before the drop.
        log_gap: ln(lambda_i / lambda_(i + 1)) there; a lower bound where the next value is below the noise floor.
        p_value: corrected over all gaps tested, at most 1.
    """

    last_mode: int
    log_gap: float
    p_value: float


def find_cliffs(
    values: Tensor, *, noise_floor: float = 1e-6, neighbours: int = 16, level: float = 0.01
) -> tuple[Cliff, ...]:
    """The gaps of a spectrum that its neighbouring gaps do not explain.

    Rule: let g_i = ln(lambda_i / lambda_(i + 1)), and S_i the sum of the w nearest gaps around it, `neighbours` on
    each side as far as the spectrum goes. Where a spectrum has no structure, neighbouring gaps are at most as
    irregular as independent exponential variables of one mean (levels of a random matrix repel each other and are
    more regular); then g_i / (S_i / w) follows an F(2, 2 w) distribution, that is P(g_i / S_i > t) = (1 + t)^(-w). A
    cliff is a gap whose probability, times the number of gaps tested (Bonferroni), is at most `level`. Two cliffs
    closer than `neighbours` hide each other in part: each counts in the other's S.

    Noise floor: eigenvalues at or below noise_floor * lambda_0 are rounding. No gap among them is tested; the drop into
    the floor is tested with the floor as its lower end, so that the end of a low-rank kernel is a cliff.

    Args:
        values: (m,) eigenvalues, descending.
        noise_floor: relative to the first value; 1e-6 suits kernels computed in float32 (eps = 1.2e-7).
        neighbours: gaps looked at on each side.
        level: probability of one false cliff or more in a spectrum without structure.

    Returns:
        the cliffs in the order of the spectrum; empty where there are fewer than 3 values above the floor.

    Raises:
        InvalidInputError: values are not a vector that descends from a positive entry, or a parameter is out of range.
        NumericalError: values hold NaN or infinity.
    """
    _check(values, noise_floor, neighbours, level)
    gaps = _log_gaps(values.to(torch.float64), noise_floor)
    if len(gaps) < 2:
        return ()
    p_values = (_gap_probabilities(gaps, neighbours) * len(gaps)).clamp_max(1.0)
    found = (p_values <= level).nonzero()[:, 0].tolist()
    return tuple(Cliff(last_mode=i, log_gap=float(gaps[i]), p_value=float(p_values[i])) for i in found)


def paper_blocks(p: int) -> tuple[range, range]:
    """The paper's fixed index ranges for modular addition: modes 1..c, then c + 1..2 c, with c = 4 floor(p / 2)."""
    size = 4 * (p // 2)
    return range(1, size + 1), range(size + 1, 2 * size + 1)


def matches_paper(cliffs: Sequence[Cliff], p: int) -> bool:
    """Whether the first two cliffs after the constant mode 0 end exactly the paper's two blocks."""
    return [cliff.last_mode for cliff in cliffs if cliff.last_mode > 0][:2] == [block[-1] for block in paper_blocks(p)]


def _log_gaps(values: Float[Tensor, " m"], noise_floor: float) -> Float[Tensor, " gaps"]:
    floor = noise_floor * values[0]
    significant = values[values > floor]
    ends = significant if len(significant) == len(values) else torch.cat([significant, floor[None]])
    return -ends.log().diff()


def _gap_probabilities(gaps: Float[Tensor, " gaps"], neighbours: int) -> Float[Tensor, " gaps"]:
    index = torch.arange(len(gaps))
    low, high = (index - neighbours).clamp_min(0), (index + neighbours + 1).clamp_max(len(gaps))
    sums = torch.cat([gaps.new_zeros(1), gaps.cumsum(dim=0)])
    around = (sums[high] - sums[low] - gaps).clamp_min(torch.finfo(gaps.dtype).tiny)
    return (1 + gaps / around) ** -(high - low - 1).to(gaps.dtype)


def _check(values: Tensor, noise_floor: float, neighbours: int, level: float) -> None:
    if not 0 < noise_floor < 1 or neighbours < 1 or not 0 < level < 1:
        raise InvalidInputError(
            f"noise_floor={noise_floor}, neighbours={neighbours}, level={level}",
            where="find_cliffs",
            remedy="noise_floor and level lie between 0 and 1, neighbours is at least 1.",
        )
    if values.ndim != 1 or len(values) == 0:
        raise InvalidInputError(f"a spectrum is a vector, not of shape {tuple(values.shape)}", where="values")
    if not bool(values.isfinite().all()):
        raise NumericalError("the spectrum holds NaN or infinity", where="values")
    if not bool(values[0] > 0) or bool((values.diff() > 0).any()):
        raise InvalidInputError(
            "the spectrum is not descending from a positive value",
            where="values",
            remedy="Sort the eigenvalues, the largest first.",
        )
