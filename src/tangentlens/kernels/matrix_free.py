"""Kernel products without the kernel: K v = J (J^T v), one vector-Jacobian and one Jacobian-vector product each.

Memory is that of the parameters times the number of columns; nothing of size N^2 or N * C * P exists.
"""

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.differentiation import vectorised_grad, without_advice
from tangentlens.models.functional import FunctionalModel, Inputs, batch_size, take
from tangentlens.operators import LinearOperator

_log = logging.getLogger(__name__)


@final
class JacobianOperator(LinearOperator):
    """K = J_1 J_2^T of one parameter group, known through products.

    Args:
        model: the functional view.
        names: parameters of the group.
        first, second: inputs of rows and of columns; the same object for a symmetric kernel.
        directions: (C, R).
        keep: whether directions are rows, or summed over.
        chunk: examples differentiated at once.
        columns: columns multiplied at once.
        name: of the group.
    """

    def __init__(
        self,
        model: FunctionalModel,
        names: tuple[str, ...],
        first: Inputs,
        second: Inputs,
        directions: Float[Tensor, "C R"],
        *,
        keep: bool,
        chunk: int,
        columns: int,
        name: str,
    ) -> None:
        self._model, self._first, self._second = model, first, second
        self._parameters = {n: model.trainable[n].detach() for n in names}
        example = next(iter(self._parameters.values()))
        self._directions, self._keep = directions.to(example), keep
        self._chunk, self._columns = chunk, columns
        per_example = directions.shape[1] if keep else 1
        self.shape = (batch_size(first) * per_example, batch_size(second) * per_example)
        self.dtype, self.device = example.dtype, example.device
        self.symmetric, self.name = first is second, name

    def matmat(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        return torch.cat([self._multiply(block) for block in V.split(self._columns, dim=1)], dim=1)

    def _multiply(self, V: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        D = self._directions  # (C, R)
        if self._keep:
            cotangents = torch.einsum("mrk,cr->kmc", V.unflatten(0, (-1, D.shape[1])), D)
            pushed = self._push(self._pull(cotangents))  # (k, n, C)
            return torch.einsum("knc,cr->nrk", pushed, D).flatten(0, 1)
        total = V.new_zeros(self.shape[0], V.shape[1])
        for direction in D.T:
            pushed = self._push(self._pull(V.T[:, :, None] * direction))
            total += (pushed @ direction).T
        return total

    def _pull(self, cotangents: Float[Tensor, "k m C"]) -> dict[str, Tensor]:
        """J_2^T v for every column: name -> (k, *shape)."""
        total = {n: p.new_zeros(cotangents.shape[0], *p.shape) for n, p in self._parameters.items()}
        for rows in self._rows(self._second):
            leaves = {n: p.clone().requires_grad_() for n, p in self._parameters.items()}
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                outputs = self._model(leaves, take(self._second, rows))
                found = vectorised_grad([outputs], list(leaves.values()), [cotangents[:, rows]])
            for n, gradient in zip(leaves, found, strict=True):
                if gradient is not None:
                    total[n] += gradient
        return total

    def _push(self, tangents: Mapping[str, Tensor]) -> Float[Tensor, "k n C"]:
        """J_1 u for every column."""
        push = self._forward if self._forward_is_adjoint else self._reverse_twice
        return torch.cat([push(dict(tangents), take(self._first, rows)) for rows in self._rows(self._first)], dim=1)

    def _forward(self, tangents: dict[str, Tensor], batch: Inputs) -> Float[Tensor, "k n C"]:
        """J u by forward-mode differentiation."""

        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            return self._model(parameters, batch)

        def push(tangent: dict[str, Tensor]) -> Tensor:
            pushed: Tensor = torch.func.jvp(outputs, (self._parameters,), (tangent,))[1]
            return pushed

        with without_advice(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
            columns: Tensor = torch.func.vmap(push)(tangents)
        return columns.detach()

    def _reverse_twice(self, tangents: dict[str, Tensor], batch: Inputs) -> Float[Tensor, "k n C"]:
        """J u as the derivative in z of <J^T z, u>, which is linear in z."""
        leaves = {n: p.clone().requires_grad_() for n, p in self._parameters.items()}
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            outputs = self._model(leaves, batch)
            z = torch.zeros_like(outputs, requires_grad=True)
            pulled = torch.autograd.grad(
                outputs, list(leaves.values()), z, create_graph=True, allow_unused=True, materialize_grads=True
            )
            used = [(g, u) for g, u in zip(pulled, tangents.values(), strict=True) if g.requires_grad]
            zero = outputs.new_zeros(len(next(iter(tangents.values()))), *outputs.shape)
            if not used:
                return zero
            (pushed,) = vectorised_grad([g for g, _ in used], [z], [u for _, u in used])
        return zero if pushed is None else pushed.detach()

    @cached_property
    def _forward_is_adjoint(self) -> bool:
        """Whether forward mode exists for this model and is the transpose of reverse mode: <J^T z, u> = <z, J u>."""
        batch = take(self._first, slice(0, 2))
        generator = torch.Generator().manual_seed(3)
        u = {n: torch.randn(1, *p.shape, generator=generator).to(p) for n, p in self._parameters.items()}
        try:
            reverse = self._reverse_twice(u, batch)
        except (RuntimeError, NotImplementedError) as error:
            raise UnsupportedModelError(
                f"torch cannot differentiate the backward pass, which matrix-free products need: {error}",
                where=self.name,
                remedy="Use method='factored', with a larger memory_budget if need be.",
            ) from error
        try:
            forward = self._forward(u, batch)
        except (RuntimeError, NotImplementedError) as error:
            _log.info("%s: forward mode is not available (%s), using reverse mode twice", self.name, error)
            return False
        agrees = torch.allclose(forward, reverse, rtol=1e-3, atol=1e-4 * float(reverse.abs().max()))
        if not agrees:
            _log.info(
                "%s: torch's forward mode is not the transpose of its reverse mode here, using the latter twice",
                self.name,
            )
        return agrees

    def _rows(self, inputs: Inputs) -> list[slice]:
        total = batch_size(inputs)
        return [slice(i, min(i + self._chunk, total)) for i in range(0, total, self._chunk)]
