"""Training networks of one architecture together, each as it would be trained alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tangentlens.errors import InvalidInputError

# (outputs (b, ...), targets (b, ...)) of ONE network -> its loss, a scalar.
Objective = Callable[[Tensor, Tensor], Tensor]
# The leaves to update -> an optimiser whose update of an entry reads that entry's own gradient and state alone
# (SGD, Adam, AdamW ...). One that couples entries, by a norm say, would couple the networks.
OptimiserFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class StackedTraining:
    """S networks whose parameters are stacked along a leading axis and stepped at once.

    The forward pass and the loss of one network are vectorised over the stack (torch.func.vmap), so they cannot drift
    from the module; the losses' sum has each network's own gradient in its own slice; an elementwise optimiser
    then gives every network the update it would have alone, up to the rounding of batched products. A stack of one is
    the training of a single network.

    The networks given are copied; they keep the values they came with.

    Args:
        networks: S modules of one architecture, without buffers, in the state training starts from.
        inputs: (S, n, ...) each network's own training inputs.
        targets: (S, n, ...) what the objective compares their outputs with.
        objective: the loss of one network.
        optimiser: builds the optimiser; called again when finished networks leave.
        generators: one per network, the source of its batch order; unused where batch is None.
        batch: examples in a step; an epoch visits each example once, in an order drawn anew, its last batch is
            what remains. None: all of them in one step.

    Raises:
        InvalidInputError: the numbers of networks, data sets and generators differ, the batch is not positive,
            or a network has buffers.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        inputs: Shaped[Tensor, "s n ..."],
        targets: Shaped[Tensor, "s n ..."],
        *,
        objective: Objective,
        optimiser: OptimiserFactory,
        generators: Sequence[torch.Generator],
        batch: int | None = None,
    ) -> None:
        _check_stack(networks, len(inputs), len(targets), len(generators), batch)
        parameters, _ = stack_module_state(list(networks))
        self.parameters: dict[str, Tensor] = {k: v.detach().clone().requires_grad_() for k, v in parameters.items()}
        self._skeleton = deepcopy(networks[0])
        self._inputs, self._targets, self._generators = inputs, targets, tuple(generators)
        self._objective, self._optimiser = objective, optimiser
        self._batch = batch
        self._stepper = optimiser(self.parameters.values())
        self.epoch = 0

    def __len__(self) -> int:
        """Number of networks still in training."""
        return len(self._generators)

    def run_epoch(self) -> Float[Tensor, " s"]:
        """One pass over the training inputs; returns each network's mean loss over the batches it saw."""
        inputs, targets = self._in_order()
        size = self._batch or inputs.shape[1]
        batches = zip(inputs.split(size, dim=1), targets.split(size, dim=1), strict=True)
        losses = [self._step(x, y) * x.shape[1] for x, y in batches]
        self.epoch += 1
        return torch.stack(losses).sum(dim=0) / inputs.shape[1]

    @torch.no_grad()
    def outputs(self, inputs: Shaped[Tensor, "m ..."]) -> Float[Tensor, "s m ..."]:
        """(S, m, ...) outputs of every network on the same inputs, as they stand."""
        return vmap(self._forward, in_dims=(0, None))(self.parameters, inputs)

    def snapshot(self, index: int) -> dict[str, Tensor]:
        """A copy of the parameters of one network, under its module's names."""
        return {name: value[index].detach().clone() for name, value in self.parameters.items()}

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these networks alone; the others leave with the state they have, the kept lose none of theirs.

        Raises:
            InvalidInputError: an index is out of range or repeated, or there is none.
        """
        if not indices or len(set(indices)) < len(indices) or not set(indices) <= set(range(len(self))):
            raise InvalidInputError(
                f"cannot keep the networks {list(indices)} of {len(self)}",
                remedy="Give distinct positions in the stack, at least one; drop the training when all are finished.",
            )
        chosen = torch.tensor(indices)
        state = self.state_dict()
        self._inputs, self._targets = self._inputs[chosen], self._targets[chosen]
        self._generators = tuple(self._generators[i] for i in indices)
        self._restore(
            {name: value[chosen] for name, value in state["parameters"].items()},
            {
                key: {name: v[chosen] if v.ndim else v for name, v in slots.items()}
                for key, slots in state["optimiser"].items()
            },
        )

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on as if never stopped; plain tensors and numbers."""
        return {
            "epoch": self.epoch,
            "parameters": {name: value.detach().clone() for name, value in self.parameters.items()},
            "optimiser": deepcopy(self._stepper.state_dict()["state"]),
            "generators": [generator.get_state() for generator in self._generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a training of the same networks on the same data.

        Raises:
            InvalidInputError: the state is of another architecture or another number of networks.
        """
        expected = {name: tuple(value.shape) for name, value in self.parameters.items()}
        found = {name: tuple(value.shape) for name, value in state["parameters"].items()}
        if expected != found:
            raise InvalidInputError(
                f"the state holds parameters {found}, the training {expected}",
                remedy="Build the training with the networks the state was saved from.",
            )
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved)
        self.epoch = state["epoch"]
        self._restore(state["parameters"], state["optimiser"])

    def _forward(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self._skeleton, parameters, (x,))  # type: ignore[no-any-return]

    def _loss(self, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return self._objective(self._forward(parameters, x), y)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        self._stepper.zero_grad()
        losses = vmap(self._loss)(self.parameters, x, y)
        losses.sum().backward()
        self._stepper.step()
        return losses.detach()

    def _in_order(self) -> tuple[Tensor, Tensor]:
        n = self._inputs.shape[1]
        if self._batch is None:
            return self._inputs, self._targets
        order = torch.stack([torch.randperm(n, generator=generator) for generator in self._generators])  # (S, n)
        rows = torch.arange(len(self))[:, None]
        return self._inputs[rows, order], self._targets[rows, order]

    def _restore(self, parameters: Mapping[str, Tensor], slots: Mapping[int, Mapping[str, Tensor]]) -> None:
        self.parameters = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        self._stepper = self._optimiser(self.parameters.values())
        self._stepper.load_state_dict({**self._stepper.state_dict(), "state": deepcopy(dict(slots))})


def _check_stack(networks: Sequence[nn.Module], inputs: int, targets: int, generators: int, batch: int | None) -> None:
    if not networks or not len(networks) == inputs == targets == generators:
        raise InvalidInputError(
            f"{len(networks)} networks, {inputs} sets of inputs, {targets} of targets, {generators} generators",
            remedy="Give one of each per network, at least one.",
        )
    if batch is not None and batch < 1:
        raise InvalidInputError(
            f"batch = {batch} is not positive", remedy="Give at least 1, or None for the whole set."
        )
    buffers = [name for network in networks for name, _ in network.named_buffers()]
    if buffers:
        raise InvalidInputError(
            "a network with buffers cannot be stacked", where=buffers[0], remedy="Train it alone, or freeze the buffer."
        )
