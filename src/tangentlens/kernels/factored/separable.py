"""Sensitivities that factor into an example's part and an output's part need few backward passes.

Between the last hidden layer and the outputs many networks apply an elementwise function and a fixed linear map, so
that the gradient of output direction r at entry b of a use is

    right[r, n, t, h, b] = s[n, t, h, b] * m[r, h, b].

A kernel summed over r then needs only s * |m|, as if there were one direction. Whether this holds is not assumed:
m comes from a few examples in all directions, s from a few random combinations of the directions on every example
(least squares), and what the fit leaves over must be rounding. A use that fails is treated in the ordinary way.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tangentlens.kernels.factored.collecting import collect
from tangentlens.kernels.factored.factors import Part
from tangentlens.kernels.tracing.plan import ParameterPlan, Plan, Strategy
from tangentlens.models.functional import FunctionalModel, Inputs, batch_size, take

PROBES = 4  # random combinations of the directions; three of them check the fit
_PILOT = 8  # examples on which every direction is computed first
_EXTRA = 64  # examples that may be added for entries that none of the pilot's reaches
_WORTH = 3 * PROBES  # directions below which nothing is gained


def separable(plans: Sequence[ParameterPlan]) -> list[ParameterPlan]:
    """The parameters whose sensitivities may separate: each of their views is used once."""
    return [p for p in plans if p.strategy is Strategy.FACTORED and all(len(frame.uses) == 1 for frame in p.frames)]


def separate(
    model: FunctionalModel,
    plan: Plan,
    inputs: Inputs,
    directions: Float[Tensor, "C R"],
    parameters: Sequence[ParameterPlan],
    chunk: int,
) -> dict[str, dict[int, Part]]:
    """Factors with a single effective direction, for those of the parameters whose sensitivities are separable.

    Args:
        parameters: from `separable`.
        chunk: examples in one forward pass.

    Returns:
        name -> index of the use -> its factors, right of shape (1, N, T, H, B) = s * |m|. Only valid for kernels
        that sum over the directions.
    """
    candidates = {p.name: p.frames for p in parameters}
    if directions.shape[1] < _WORTH or batch_size(inputs) < 2 * _PILOT or not candidates:
        return {}
    uses = tuple(sorted({i for frames in candidates.values() for frame in frames for i in frame.uses}))
    pilot_rows = torch.linspace(0, batch_size(inputs) - 1, _PILOT).round().long()
    pilot = collect(model, plan, take(inputs, pilot_rows), uses, directions, chunk=min(chunk, _PILOT))
    uses = tuple(i for i in uses if _rank_one(pilot[i].right))
    if not uses:
        return {}
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(directions.shape[1], PROBES, generator=generator, dtype=directions.dtype).to(directions.device)
    probed = collect(model, plan, inputs, uses, directions @ mixing, chunk=chunk, witnesses=plan.witnesses)
    reached = {i: _strongest(pilot[i].right) for i in uses}
    extra = _unreached_examples({i: probed[i] for i in uses}, reached)
    if len(extra):
        more = collect(model, plan, take(inputs, extra), uses, directions, chunk=chunk)
        reached = {i: _strongest(torch.cat([pilot[i].right, more[i].right], dim=1)) for i in uses}
    effective = {i: _effective(probed[i], reached[i], mixing) for i in uses}
    fitted = {i: part for i, part in effective.items() if part is not None}
    return {
        name: {frame.uses[0]: fitted[frame.uses[0]] for frame in frames}
        for name, frames in candidates.items()
        if all(frame.uses[0] in fitted for frame in frames)
    }


def _rank_one(right: Float[Tensor, "R N T H B"]) -> bool:
    """Whether every entry's (directions x examples) matrix has rank one, to rounding."""
    unit = _strongest(right)
    along = torch.einsum("rhb,rnthb->nthb", unit, right)
    rest = right - unit[:, None, None] * along
    return float(rest.abs().max()) <= _rounding(right.dtype) * float(right.abs().max())


def _strongest(right: Float[Tensor, "R N T H B"]) -> Float[Tensor, "R H B"]:
    """For each entry the unit direction of the example that responds most; zero where none responds."""
    columns = right.flatten(1, 2)  # (R, N T, H, B)
    best = columns.square().sum(0).argmax(0)  # (H, B)
    chosen = columns.gather(1, best[None, None].expand(columns.shape[0], 1, -1, -1))[:, 0]
    unit: Tensor = torch.nan_to_num(chosen / chosen.norm(dim=0))
    return unit


def _unreached_examples(probed: dict[int, Part], reached: dict[int, Tensor]) -> Tensor:
    """Examples that show the direction of entries which respond to a probe but not in the pilot."""
    wanted: list[Tensor] = []
    for index, part in probed.items():
        response = part.right.square().sum((0, 2))  # (N, H, B)
        missing: Bool[Tensor, "H B"] = (reached[index].abs().sum(0) == 0) & (response.sum(0) > 0)
        wanted.append(response.argmax(0)[missing])
    examples: Tensor = torch.cat(wanted).unique().cpu()
    return examples if len(examples) <= _EXTRA else examples[:0]


def _effective(probed: Part, unit: Float[Tensor, "R H B"], mixing: Float[Tensor, "R Q"]) -> Part | None:
    """s from least squares over the probes; None where the probes contradict a separable form."""
    weights = torch.einsum("rhb,rq->qhb", unit, mixing.to(unit))  # response of a unit s to each probe
    strength = weights.square().sum(0)
    s = torch.einsum("qhb,qnthb->nthb", weights, probed.right) / torch.where(strength > 0, strength, 1)
    rest = probed.right - weights[:, None, None] * s
    if float(rest.abs().max()) > 10 * _rounding(probed.right.dtype) * float(probed.right.abs().max()):
        return None
    return replace(probed, right=s[None])


def _rounding(dtype: torch.dtype) -> float:
    return 64 * torch.finfo(dtype).eps
