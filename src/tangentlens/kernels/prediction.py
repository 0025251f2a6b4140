"""Seconds that forming kernels would take, and a solve by products with them, before anything is run."""

from collections.abc import Sequence
from dataclasses import dataclass

from tangentlens.kernels.budget import multiplication_rate
from tangentlens.kernels.factored.assembly import Problem
from tangentlens.kernels.factored.contraction import gradient_operations, token_operations
from tangentlens.kernels.groups import Group
from tangentlens.kernels.tracing.plan import ParameterPlan, Strategy

_PRODUCTS = 300  # columns that a solver multiplies for some 25 leading modes
_PASSES = 6  # a vector-Jacobian and a Jacobian-vector product, in forward passes


@dataclass(frozen=True)
class Prediction:
    """Time of both methods.

    Attributes:
        formed_seconds: forming them; an upper bound where sensitivities turn out to be separable.
        product_seconds: a solve for some 25 leading modes by matrix-free products.
    """

    formed_seconds: float
    product_seconds: float


def predict(problem: Problem, groups: Sequence[Group]) -> Prediction:
    """Count operations; seconds at the measured rate of matrix products."""
    names = [name for group in groups for name in group.parameters]
    plans = [plan for name in names if (plan := problem.plan.parameters[name]).strategy is not Strategy.UNUSED]
    width = problem.directions.shape[1]
    forward = 2.0 * problem.examples * sum(_multiplications(problem, plan) for plan in plans)
    formed = sum(_forming(problem, plan) for plan in plans) + 2 * width * forward
    columns = _PRODUCTS * (1 if problem.keep else width)
    rate = multiplication_rate(problem.device)
    return Prediction(
        formed / rate,
        columns * _PASSES * forward / rate,
    )


def _multiplications(problem: Problem, plan: ParameterPlan) -> float:
    """Of one example's forward pass, in the uses of one parameter; one for each entry where the uses are unknown."""
    if plan.strategy is Strategy.DIFFERENTIATED:
        return float(problem.model.trainable[plan.name].numel())
    extents = [problem.plan.extents[i] for view in plan.views for i in view.uses]
    return float(sum(use.positions * use.value for use in extents if use is not None))


def _forming(problem: Problem, plan: ParameterPlan) -> float:
    """Operations of the parameter's kernel by the cheaper route; those of the gradients where it is differentiated."""
    sizes = problem.sizes(problem.directions.shape[1])
    if plan.strategy is Strategy.DIFFERENTIATED:
        rows = sizes.rows_per_example * (1 if problem.keep else sizes.directions**0.5)
        return 2.0 * sizes.left_examples * sizes.right_examples * rows**2 * problem.model.trainable[plan.name].numel()
    total = 0.0
    for view in plan.views:
        uses = [use for i in view.uses if (use := problem.plan.extents[i]) is not None]
        total += min(token_operations(uses, sizes), gradient_operations(uses, sizes))
    return total
