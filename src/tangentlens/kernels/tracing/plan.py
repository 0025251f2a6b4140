"""Decide, on two pilot batches, how the kernel of each parameter will be computed, and prove it right there.

The pilots (pilots.py) show which results carry the batch, where the examples are in each, and the gradient of every
example at every use. Each factored form is checked against automatic differentiation: the gradient of each parameter
must come out of the factors, and an example's factors must be the same in both pilots. A parameter that fails is
differentiated as it is, and the plan says so.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.factored.factors import Extents, Factors, factors_of, materialise_sum
from tangentlens.kernels.tracing.call_sequence import FEW, MORE, following, other_way
from tangentlens.kernels.tracing.layouts import Layout, close
from tangentlens.kernels.tracing.parameter_views import Owners, ParameterView, isometric, pull_back, views_of
from tangentlens.kernels.tracing.pilots import Pilots, layouts_of, run_pilots
from tangentlens.kernels.tracing.probing import Pilot
from tangentlens.kernels.tracing.recording import Recording, record_uses, watch_calls
from tangentlens.kernels.tracing.witnesses import Witnesses
from tangentlens.models.checks import agreement, check_modes
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, at_least_two, batch_size

_log = logging.getLogger(__name__)
# far above rounding, some layers round to float32 inside a float64 model; a wrong form errs by order one
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-3}
_ROUNDING = 1e2  # rounding of a sum, in machine epsilons of its terms' norm


class Strategy(Enum):
    """How the kernel of one parameter is computed."""

    FACTORED = "factored"  # from the factors of its uses
    PULLED_BACK = "pulled back"  # dV from the factors, then through the map from the parameter to V
    DIFFERENTIATED = "differentiated"  # per-example gradients by automatic differentiation
    UNUSED = "unused"  # no output depends on it


@dataclass(frozen=True)
class ParameterPlan:
    """How the kernel of one parameter is computed, and why."""

    name: str
    strategy: Strategy
    views: tuple[ParameterView, ...]
    reason: str


@dataclass(frozen=True)
class Plan:
    """The structure of a model as its forward pass shows it.

    Attributes:
        parameters: name -> plan.
        layouts: for each recorded use, where the batch is in its result; None where that is not proven.
        calls: (function name, carries a batch axis) of every call, to recognise a forward pass that goes another way.
        witnesses: outputs of the pilots' examples, which every pass over the batch must give again.
        outputs: C.
        use_sizes: for each recorded use, entries of its result and of its operand for one example.
        extents: for each recorded use, the lengths of its factors' axes; None where the batch was not found.
        bytes_per_example: memory of all results of one example's forward pass, an upper bound for its graph.
    """

    parameters: Mapping[str, ParameterPlan]
    layouts: tuple[Layout | None, ...]
    calls: tuple[tuple[str, bool], ...]
    witnesses: Witnesses
    outputs: int
    use_sizes: tuple[tuple[int, int], ...]
    extents: tuple[Extents | None, ...]
    bytes_per_example: int

    def record(self, model: FunctionalModel, inputs: Inputs) -> Recording:
        """Record the uses in another batch of at least two; the forward pass must take the same way as in the pilot.

        Raises:
            UnsupportedModelError: it does not (control flow that depends on the data).
        """
        recording = record_uses(model, inputs, model.trainable, following(self.calls))
        self._require_all(recording.made)
        return recording

    def run(self, model: FunctionalModel, parameters: Mapping[str, Tensor], inputs: Inputs) -> Float[Tensor, "n C"]:
        """Outputs of another batch; the forward pass must take the same way as in the pilot.

        Raises:
            UnsupportedModelError: it does not.
        """
        output, made = watch_calls(model, parameters, at_least_two(inputs), following(self.calls))
        self._require_all(made)
        return output[: batch_size(inputs)]

    def _require_all(self, made: int) -> None:
        if made < len(self.calls):
            raise other_way(self.calls[made][0], "does not call {} where it did before")


def make_plan(model: FunctionalModel, inputs: Inputs, budget: int = 2**30) -> Plan:
    """Find every use of every trainable parameter and check the factored forms on a few examples.

    Args:
        budget: bytes that passes over more than the few examples may take.

    Raises:
        InvalidInputError: the model cannot be called on these inputs.
        NumericalError: an output is NaN or infinite.
        UnsupportedModelError: the model is random, its examples influence each other, or its forward pass depends on
            the batch size or on the data's values.
    """
    check_modes(model.module)
    state = torch.get_rng_state()
    try:
        pilots = run_pilots(model, inputs, budget)
    except UnsupportedModelError:
        torch.set_rng_state(state)  # a model that draws random numbers is refused, and leaves no trace
        raise
    layouts = layouts_of(pilots)
    more, few = (_factors(pilot, layouts, size) for pilot, size in ((pilots.more, MORE), (pilots.few, FEW)))
    trusted = _trusted(pilots, more, few)
    owners = Owners(model.trainable)
    expected = _parameter_gradients(model, pilots)
    plans = {
        name: _plan_parameter(name, parameter, pilots.more.recording, owners, trusted, expected[name])
        for name, parameter in model.trainable.items()
    }
    for plan in plans.values():
        level = logging.INFO if plan.strategy in (Strategy.PULLED_BACK, Strategy.DIFFERENTIATED) else logging.DEBUG
        _log.log(level, "%s: %s (%s)", plan.name, plan.strategy.value, plan.reason)
    uses, output = pilots.more.recording.uses, pilots.more.recording.output
    return Plan(
        plans,
        layouts,
        pilots.calls,
        pilots.witnesses,
        output.shape[1],
        tuple(
            (math.prod(u.shape) // MORE, 0 if u.use.operand is None else u.use.operand.numel() // MORE) for u in uses
        ),
        tuple(None if factors is None else factors.extents for factors in more),
        pilots.bytes_per_example,
    )


def _factors(pilot: Pilot, layouts: Sequence[Layout | None], examples: int) -> list[Factors | None]:
    """The factors of every use whose layout is proven."""
    return [
        None if layout is None else factors_of(use.use, gradient[None], layout, examples)
        for use, gradient, layout in zip(pilot.recording.uses, pilot.gradients, layouts, strict=True)
    ]


def _trusted(pilots: Pilots, more: Sequence[Factors | None], few: Sequence[Factors | None]) -> list[Factors | None]:
    """The factors that are the same for an example in both pilots; None in the place of the others.

    Raises:
        UnsupportedModelError: what multiplies a parameter for one example depends on the other examples.
    """
    here, there = (list(places) for places in zip(*pilots.pairs, strict=True))
    trusted: list[Factors | None] = []
    for use, gradient, large, small in zip(pilots.more.recording.uses, pilots.more.gradients, more, few, strict=True):
        if large is None or small is None:
            trusted.append(None)
            continue
        if not close(large.left[here].double(), small.left[there].double(), agreement(large.right.dtype)):
            raise UnsupportedModelError(
                f"what {use.name} multiplies a parameter by changes for an example with the other examples of the "
                "batch, so a kernel between examples is not defined",
                where=use.place,
                remedy="Look for operations along the batch axis.",
            )
        difference, scale = large.right[:, here] - small.right[:, there], float(large.right[:, here].norm())
        noise = _ROUNDING * eps(large.right) * float(gradient.norm())
        allowed = max(noise, tolerance(large.right.dtype) * scale)
        trusted.append(large if float(difference.norm()) <= allowed else None)
    return trusted


def tolerance(dtype: torch.dtype) -> float:
    """Relative error of a gradient or a kernel above which its form is wrong."""
    return _TOLERANCE.get(dtype, 2e-2)


def eps(tensor: Tensor) -> float:
    """Machine epsilon of a tensor's dtype."""
    return float(torch.finfo(tensor.dtype).eps)


def _parameter_gradients(model: FunctionalModel, pilots: Pilots) -> dict[str, Tensor | None]:
    """Gradient of sum over n of c_n . f(x_n) in every parameter, by automatic differentiation."""
    output = pilots.more.recording.output
    found: Sequence[Tensor | None] = (None,) * len(model.trainable)
    if output.requires_grad:
        leaves = list(model.trainable.values())
        found = torch.autograd.grad(output, leaves, pilots.cotangents, retain_graph=True, allow_unused=True)
    return dict(zip(model.trainable, found, strict=True))


def _plan_parameter(
    name: str,
    parameter: Tensor,
    pilot: Recording,
    owners: Owners,
    factors: Sequence[Factors | None],
    expected: Tensor | None,
) -> ParameterPlan:
    if expected is None:
        return ParameterPlan(name, Strategy.UNUSED, (), "no output depends on it")
    for call in pilot.unexplained:
        if name in owners.of(call.value):
            return ParameterPlan(name, Strategy.DIFFERENTIATED, (), f"no rule for {call.name} at {call.place}")
    views = views_of(name, parameter, pilot.uses, owners)
    where = [i for view in views for i in view.uses]
    unknown = [pilot.uses[i] for i in where if factors[i] is None]
    if unknown:
        reason = f"where the examples are in the result of {unknown[0].name} at {unknown[0].place} is not proven"
        return ParameterPlan(name, Strategy.DIFFERENTIATED, (), reason)
    error = _error(parameter, views, pilot, factors, expected)
    if not error <= tolerance(parameter.dtype):
        reason = f"its uses explain the gradient only to {error:.1e}"
        return ParameterPlan(name, Strategy.DIFFERENTIATED, (), reason)
    if isometric(parameter, views):
        calls = ", ".join(dict.fromkeys(pilot.uses[i].name for i in where))
        return ParameterPlan(name, Strategy.FACTORED, views, f"used by {calls}")
    return ParameterPlan(name, Strategy.PULLED_BACK, views, "used through a map that changes inner products")


def _error(
    parameter: Tensor,
    views: Sequence[ParameterView],
    pilot: Recording,
    factors: Sequence[Factors | None],
    expected: Tensor,
) -> float:
    """Relative difference between the gradient that the factors give and the one of automatic differentiation."""
    found, noise = -expected, 0.0
    for view in views:
        for index in view.uses:
            of_use = factors[index]
            if of_use is None:
                return math.inf
            found += pull_back(pilot.uses[index].use.value, parameter, materialise_sum(of_use))
            noise += _ROUNDING * eps(of_use.right) * float(of_use.left.double().norm() * of_use.right.norm())
    scale, difference = float(expected.norm()), float(found.norm())
    return difference / scale if difference > noise and scale else max(0.0, difference - noise)
