"""The full kernel of a language model's parameter group, matrix-free: rows (window, coordinate), none left out.

A product K v = J (J^T v) is one reverse pass and one forward pass through the stages above the group's lowest
parameter; the hidden states that enter each stage are computed once and kept. Reverse passes run one column after
another over one graph, forward passes several columns at a time.
"""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.differentiation import forward_mode, without_advice
from tangentlens.kernels.groups import Group
from tangentlens.language.batches import Batch
from tangentlens.language.geometry import LogitGeometry
from tangentlens.language.sweep.planning import PlannedStage, stage_inputs
from tangentlens.language.sweep.scratch import InMemory
from tangentlens.language.sweep.stages import HIDDEN, Chain
from tangentlens.models.inputs import take
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import LinearOperator

_BYTES = 2 * 2**30  # of graphs and tangents that are alive at once
_COLUMNS = 8  # multiplied at once
_NO_FORWARD_MODE = ("functorch", "forward AD", "forward-mode", "jvp", "vmap")  # in what torch says where there is none


@final
class FullKernel(LinearOperator):
    """L J J^T L^T with rows (window, coordinate), window-major: row i * d + c.

    Args:
        planned: the stages from the last down to the lowest that uses the group's parameters.
        inputs: for each of them its inputs for all windows.
        factors: (N, d, d) of the logit geometry, what the cotangents of the final hidden state are multiplied by.
        names: first names of the group's parameters.
        name: of the group.
    """

    def __init__(
        self,
        planned: Sequence[PlannedStage],
        inputs: Sequence[Mapping[str, Tensor]],
        factors: Float[Tensor, "N d d"],
        names: Sequence[str],
        name: str,
    ) -> None:
        self._planned, self._inputs, self._names = tuple(planned), tuple(inputs), frozenset(names)
        first = inputs[0][HIDDEN]
        self.dtype, self.device = first.dtype, first.device
        self._factors = factors
        self.windows, self.coordinates = factors.shape[0], factors.shape[1]
        rows = self.windows * self.coordinates
        self.shape, self.symmetric, self.name = (rows, rows), True, name

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
        with plain_torch():
            return torch.cat([self.push(self.pull(block)) for block in V.split(_COLUMNS, dim=1)], dim=1)

    def pull(self, V: Float[Tensor, "m k"]) -> dict[str, Tensor]:
        """J^T L v of every column: name -> (k, *shape of the parameter)."""
        columns = V.reshape(self.windows, self.coordinates, -1)
        gradient: Tensor = torch.einsum("ncd,ndk->knc", self._factors.to(self.dtype), columns)
        totals: dict[str, Tensor] = {}
        for place, (planned, inputs) in enumerate(zip(self._planned, self._inputs, strict=True)):
            lowest = place == len(self._planned) - 1
            pulled = gradient if lowest else gradient.new_empty(len(gradient), *inputs[HIDDEN].shape)
            for rows in self._rows(planned, len(gradient)):
                hidden, weights = self._pull_chunk(planned, inputs, gradient[:, rows], rows, lowest)
                if not lowest:
                    pulled[:, rows] = hidden
                for full, found in weights.items():
                    totals[full] = totals[full].add_(found) if full in totals else found
            gradient = pulled
        return totals

    def _pull_chunk(
        self, planned: PlannedStage, inputs: Mapping[str, Tensor], gradient: Tensor, rows: slice, lowest: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        batch = dict(take(dict(inputs), rows))  # type: ignore[arg-type]
        mine = self._mine(planned)
        leaves = {n: planned.view.trainable[n].detach().requires_grad_() for n in mine}
        sources = list(leaves.values())
        if not lowest:
            batch[HIDDEN] = batch[HIDDEN].detach().requires_grad_()
            sources.append(batch[HIDDEN])
        with torch.enable_grad():
            output = planned.view(leaves, batch)
        pulled = [
            torch.autograd.grad(output, sources, column.reshape(output.shape), retain_graph=True) for column in gradient
        ]
        weights = {mine[n]: torch.stack([row[i] for row in pulled]) for i, n in enumerate(leaves)}
        return (gradient if lowest else torch.stack([row[-1] for row in pulled])), weights

    def push(self, tangents: Mapping[str, Tensor]) -> Float[Tensor, "m k"]:
        """L^T J u of every column u, given as name -> (k, *shape of the parameter)."""
        columns = len(next(iter(tangents.values())))
        blocks = [slice(i, i + _COLUMNS) for i in range(0, columns, _COLUMNS)]
        pushed = [self._push_columns({name: u[block] for name, u in tangents.items()}) for block in blocks]
        return torch.cat(pushed, dim=1)

    def _push_columns(self, tangents: Mapping[str, Tensor]) -> Float[Tensor, "m k"]:
        columns = len(next(iter(tangents.values())))
        hidden: Tensor | None = None  # (k, N, T d)
        for planned, inputs in reversed(list(zip(self._planned, self._inputs, strict=True))):
            mine = {n: tangents[full] for n, full in self._mine(planned).items()}
            pieces = [self._push_chunk(planned, inputs, mine, hidden, rows) for rows in self._rows(planned, columns)]
            hidden = torch.cat(pieces, dim=1)
        found: Tensor = torch.einsum("ncd,knc->ndk", self._factors.to(self.dtype), hidden)
        return found.flatten(0, 1)

    def _push_chunk(
        self,
        planned: PlannedStage,
        inputs: Mapping[str, Tensor],
        tangents: Mapping[str, Tensor],
        hidden: Tensor | None,
        rows: slice,
    ) -> Float[Tensor, "k n ..."]:
        batch = dict(take(dict(inputs), rows))  # type: ignore[arg-type]
        parameters = {n: planned.view.trainable[n].detach() for n in tangents}
        primal: dict[str, Tensor] = dict(parameters)
        moved: dict[str, Tensor] = dict(tangents)
        if hidden is not None:
            primal[HIDDEN] = batch.pop(HIDDEN)
            moved[HIDDEN] = hidden[:, rows].reshape(len(hidden), *primal[HIDDEN].shape)

        def outputs(varied: dict[str, Tensor]) -> Tensor:
            weights = {n: varied[n] for n in parameters}
            given = {HIDDEN: varied[HIDDEN]} if hidden is not None else {}
            return planned.view(weights, {**batch, **given})

        def push(tangent: dict[str, Tensor]) -> Tensor:
            pushed: Tensor = torch.func.jvp(outputs, (primal,), (tangent,))[1]
            return pushed

        try:
            with forward_mode(), without_advice(), torch.no_grad():
                found: Tensor = torch.func.vmap(push)(moved)
        except (RuntimeError, NotImplementedError) as error:
            if not any(words in str(error) for words in _NO_FORWARD_MODE):
                raise
            raise UnsupportedModelError(
                f"a part of the model has no forward-mode derivative: {str(error).splitlines()[0]}",
                where=f"stage {planned.index}",
                remedy="Sweep in Fisher geometry or in all directions, which need none; refine needs one.",
            ) from error
        return found.detach()

    def _mine(self, planned: PlannedStage) -> dict[str, str]:
        return {n: full for n, full in planned.names.items() if full in self._names}

    def _rows(self, planned: PlannedStage, columns: int) -> list[slice]:
        width = max(1, min(self.windows, _BYTES // max(1, planned.plan.bytes_per_example * columns)))
        return [slice(i, min(i + width, self.windows)) for i in range(0, self.windows, width)]


def full_kernel(
    chain: Chain, planned: Sequence[PlannedStage], batch: Batch, units: LogitGeometry, group: Group
) -> FullKernel:
    """The full kernel of a group on some windows, matrix-free."""
    lowest = max(i for i, stage in enumerate(planned) if set(stage.names.values()) & set(group.parameters))
    above = planned[: lowest + 1]
    inputs, hidden = stage_inputs(chain, above, batch, InMemory())
    return FullKernel(above, inputs, units.factors(hidden), group.parameters, group.name)
