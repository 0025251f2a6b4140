"""Sensitivities that separate into a factor of the example and a factor of the output, from few backward passes.

Between the last hidden layer and the outputs many networks apply an elementwise function and a fixed linear map, so
that the gradient of output direction r at entry b of a use is

    right[r, n, t, h, b] = s[n, t, h, b] * m[r, h, b].

A kernel summed over r then needs only s * |m|, as if there were one direction. Whether this holds is not assumed:
m comes from a few examples in all directions, s from a few random combinations of the directions on every example
(least squares), and what the fit leaves over must be rounding. A use that fails is treated in the ordinary way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tangentlens.kernels.factored.collecting import collect
from tangentlens.kernels.factored.factors import Factors
from tangentlens.kernels.tracing.plan import ParameterPlan, Plan, Strategy
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, batch_size, take

PROBES = 4  # random combinations of the directions; three of them check the fit
_PILOT = 8  # examples on which every direction is computed first
_EXTRA = 64  # examples that may be added for entries that none of the pilot's reaches
_WORTH = 3 * PROBES  # directions below which nothing is gained


def separable(plans: Sequence[ParameterPlan]) -> list[ParameterPlan]:
    """The parameters whose sensitivities may separate: each of their views is used once."""
    return [p for p in plans if p.strategy is Strategy.FACTORED and all(len(view.uses) == 1 for view in p.views)]


def separate(
    model: FunctionalModel,
    plan: Plan,
    inputs: Inputs,
    directions: Float[Tensor, "C R"],
    parameters: Sequence[ParameterPlan],
    chunk: int,
) -> dict[str, dict[int, Factors]]:
    """Factors with a single effective direction, for those of the parameters whose sensitivities are separable.

    Args:
        parameters: from `separable`.
        chunk: examples in one forward pass.

    Returns:
        name -> index of the use -> its factors, right of shape (1, N, T, H, B) = s * |m|. Only valid for kernels
        that sum over the directions.
    """
    if directions.shape[1] < _WORTH or batch_size(inputs) < 2 * _PILOT or not parameters:
        return {}
    views = {p.name: p.views for p in parameters}
    uses = sorted({view.uses[0] for each in views.values() for view in each})
    fitted = _fit(_Batch(model, plan, inputs, chunk), uses, directions)
    return {
        name: {view.uses[0]: fitted[view.uses[0]] for view in each}
        for name, each in views.items()
        if all(view.uses[0] in fitted for view in each)
    }


@dataclass(frozen=True)
class _Batch:
    """The examples whose factors are collected, `chunk` of them in one forward pass."""

    model: FunctionalModel
    plan: Plan
    inputs: Inputs
    chunk: int

    def some(self, rows: Tensor, uses: Sequence[int], directions: Float[Tensor, "C R"]) -> dict[int, Factors]:
        """Factors of the examples `rows`."""
        chunk = min(self.chunk, len(rows))
        return collect(self.model, self.plan, take(self.inputs, rows), uses, directions, chunk=chunk)

    def all(self, uses: Sequence[int], directions: Float[Tensor, "C R"]) -> dict[int, Factors]:
        """Factors of every example."""
        witnesses = self.plan.witnesses
        return collect(self.model, self.plan, self.inputs, uses, directions, chunk=self.chunk, witnesses=witnesses)


def _fit(batch: _Batch, uses: Sequence[int], directions: Float[Tensor, "C R"]) -> dict[int, Factors]:
    """The effective factors of those uses that pass the pilot and the fit to the probes."""
    rows = torch.linspace(0, batch_size(batch.inputs) - 1, _PILOT).round().long()
    pilot = {i: use for i, use in batch.some(rows, uses, directions).items() if _rank_one(use.right)}
    if not pilot:
        return {}
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(directions.shape[1], PROBES, generator=generator, dtype=directions.dtype).to(directions.device)
    probed = batch.all(tuple(pilot), directions @ mixing)
    units = {i: _strongest(use.right) for i, use in pilot.items()}
    extra = _unreached_examples(probed, units)
    if len(extra):
        more = batch.some(extra, tuple(pilot), directions)
        units = {i: _strongest(torch.cat([use.right, more[i].right], dim=1)) for i, use in pilot.items()}
    effective = {i: _effective(probed[i], unit, mixing) for i, unit in units.items()}
    return {i: factors for i, factors in effective.items() if factors is not None}


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


def _unreached_examples(probed: dict[int, Factors], reached: dict[int, Tensor]) -> Tensor:
    """Examples that show the direction of entries which respond to a probe but not in the pilot."""
    wanted: list[Tensor] = []
    for index, factors in probed.items():
        response = factors.right.square().sum((0, 2))  # (N, H, B)
        missing: Bool[Tensor, "H B"] = (reached[index].abs().sum(0) == 0) & (response.sum(0) > 0)
        wanted.append(response.argmax(0)[missing])
    examples: Tensor = torch.cat(wanted).unique().cpu()
    return examples if len(examples) <= _EXTRA else examples[:0]


def _effective(probed: Factors, unit: Float[Tensor, "R H B"], mixing: Float[Tensor, "R Q"]) -> Factors | None:
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
