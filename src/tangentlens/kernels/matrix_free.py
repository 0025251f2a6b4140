"""Kernel products without the kernel: K v = J (J^T v), one vector-Jacobian and one Jacobian-vector product each.

Memory is that of the parameters times the number of columns; nothing of size N^2 or N * C * P exists.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen.residuals import require_finite
from tangentlens.errors import TangentlensError, UnsupportedModelError
from tangentlens.kernels.cost import Pieces
from tangentlens.kernels.differentiation import forward_mode, plain_attention, vectorised_grad, without_advice
from tangentlens.kernels.tracing.plan import Plan
from tangentlens.kernels.tracing.witnesses import Witnesses
from tangentlens.models.checks import agreement
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, batch_size, take
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import LinearOperator

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """The examples of the rows or of the columns, and the outputs that some of them must have."""

    inputs: Inputs
    witnesses: Witnesses


@final
class JacobianOperator(LinearOperator):
    """K = J_1 J_2^T of one parameter group, known through products.

    Args:
        model: the functional view.
        plan: of its forward pass; every pass must take the same way.
        names: parameters of the group.
        sides: of the rows and of the columns; the same object twice for a symmetric kernel.
        directions: (C, R).
        keep: whether directions are rows, or summed over.
        pieces: how much is worked on at once.
        name: of the group.
    """

    def __init__(
        self,
        model: FunctionalModel,
        plan: Plan,
        names: tuple[str, ...],
        sides: tuple[Side, Side],
        directions: Float[Tensor, "C R"],
        *,
        keep: bool,
        pieces: Pieces,
        name: str,
    ) -> None:
        self._model, self._plan = model, plan
        self._first, self._second = first, second = sides
        self._parameters = {n: model.trainable[n].detach() for n in names}
        example = next(iter(self._parameters.values()))
        self._directions, self._keep, self._pieces = directions.to(example), keep, pieces
        per_example = directions.shape[1] if keep else 1
        self.shape = (batch_size(first.inputs) * per_example, batch_size(second.inputs) * per_example)
        self.dtype, self.device = example.dtype, example.device
        self.symmetric, self.name = first is second, name

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return self._multiplied(V, self._first, self._second)

    def rmatmat(self, U: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        return self._multiplied(U, self._second, self._first)

    def on(self, inputs: Inputs, inputs2: Inputs) -> "JacobianOperator":
        """The same kernel between other examples; of equal rows and columns it is symmetric."""
        first = Side(inputs, Witnesses({}))
        second = first if inputs2 is inputs else Side(inputs2, Witnesses({}))
        return JacobianOperator(
            self._model,
            self._plan,
            tuple(self._parameters),
            (first, second),
            self._directions,
            keep=self._keep,
            pieces=self._pieces,
            name=self.name,
        )

    def _multiplied(self, V: Float[Tensor, "m k"], left: Side, right: Side) -> Float[Tensor, "n k"]:
        self._model.require_unchanged()
        with plain_torch(), torch.no_grad():
            blocks = [self._block(block.detach(), left, right) for block in V.split(self._pieces.columns, dim=1)]
        self._model.require_unchanged()
        product = torch.cat(blocks, dim=1)
        require_finite(product, self.name)
        return product

    def _block(self, V: Float[Tensor, "m k"], left: Side, right: Side) -> Float[Tensor, "n k"]:
        D = self._directions  # (C, R)
        if self._keep:
            cotangents = torch.einsum("mrk,cr->kmc", V.unflatten(0, (-1, D.shape[1])), D)
            pushed = self._push(self._pull(cotangents, right), left)  # (k, n, C)
            return torch.einsum("knc,cr->nrk", pushed, D).flatten(0, 1)
        total = V.new_zeros(batch_size(left.inputs), V.shape[1])
        for direction in D.T:
            pushed = self._push(self._pull(V.T[:, :, None] * direction, right), left)
            total += (pushed @ direction).T
        return total

    def _pull(self, cotangents: Float[Tensor, "k m C"], side: Side) -> dict[str, Tensor]:
        """J^T v for every column: name -> (k, *shape)."""
        total = {n: p.new_zeros(cotangents.shape[0], *p.shape) for n, p in self._parameters.items()}
        for rows in self._rows(side):
            leaves = {n: p.detach().requires_grad_() for n, p in self._parameters.items()}
            with torch.enable_grad(), plain_attention():
                outputs = self._plan.run(self._model, leaves, take(side.inputs, rows))
                side.witnesses.check(outputs, rows.start)
                found = vectorised_grad([outputs], list(leaves.values()), [cotangents[:, rows]])
            for n, gradient in zip(leaves, found, strict=True):
                if gradient is not None:
                    total[n] += gradient
        return total

    def _push(self, tangents: Mapping[str, Tensor], side: Side) -> Float[Tensor, "k n C"]:
        """J u for every column."""
        push = self._forward if self._forward_is_adjoint else self._reverse_twice
        return torch.cat([push(dict(tangents), take(side.inputs, rows)) for rows in self._rows(side)], dim=1)

    def _forward(self, tangents: dict[str, Tensor], batch: Inputs) -> Float[Tensor, "k n C"]:
        """J u by forward-mode differentiation."""

        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            return self._plan.run(self._model, parameters, batch)

        def push(tangent: dict[str, Tensor]) -> Tensor:
            pushed: Tensor = torch.func.jvp(outputs, (self._parameters,), (tangent,))[1]
            return pushed

        with forward_mode(), without_advice(), plain_attention():
            columns: Tensor = torch.func.vmap(push)(tangents)
        return columns.detach()

    def _reverse_twice(self, tangents: dict[str, Tensor], batch: Inputs) -> Float[Tensor, "k n C"]:
        """J u as the derivative in z of <J^T z, u>, which is linear in z."""
        leaves = {n: p.detach().requires_grad_() for n, p in self._parameters.items()}
        with torch.enable_grad(), plain_attention():
            outputs = self._plan.run(self._model, leaves, batch)
            z = torch.zeros_like(outputs, requires_grad=True)
            zero = outputs.new_zeros(len(next(iter(tangents.values()))), *outputs.shape)
            if not outputs.requires_grad:
                return zero
            pulled = torch.autograd.grad(
                outputs, list(leaves.values()), z, create_graph=True, allow_unused=True, materialize_grads=True
            )
            used = [(g, u) for g, u in zip(pulled, tangents.values(), strict=True) if g.requires_grad]
            if not used:
                return zero
            (pushed,) = vectorised_grad([g for g, _ in used], [z], [u for _, u in used])
        return zero if pushed is None else pushed.detach()

    @cached_property
    def _forward_is_adjoint(self) -> bool:
        """Whether forward mode exists for this model and is the transpose of reverse mode: <J^T z, u> = <z, J u>."""
        batch = take(self._first.inputs, slice(0, 2))
        generator = torch.Generator().manual_seed(3)
        u = {n: torch.randn(1, *p.shape, generator=generator).to(p) for n, p in self._parameters.items()}
        try:
            reverse = self._reverse_twice(u, batch)
        except TangentlensError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            raise UnsupportedModelError(
                f"torch cannot differentiate the backward pass, which matrix-free products need: {error}",
                where=self.name,
                remedy="Use method='factored', with a larger memory_budget if need be.",
            ) from error
        try:
            forward = self._forward(u, batch)
        except TangentlensError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            _log.info("%s: forward mode is not available (%s), using reverse mode twice", self.name, error)
            return False
        require_finite(reverse.flatten(1), self.name)
        agrees = torch.allclose(forward, reverse, rtol=0.0, atol=agreement(self.dtype) * float(reverse.abs().max()))
        if not agrees:
            _log.info(
                "%s: torch's forward mode is not the transpose of its reverse mode here, using the latter twice",
                self.name,
            )
        return agrees

    def _rows(self, side: Side) -> list[slice]:
        total, chunk = batch_size(side.inputs), self._pieces.examples
        return [slice(i, min(i + chunk, total)) for i in range(0, total, chunk)]
