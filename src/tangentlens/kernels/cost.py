"""Bytes that forming a kernel and multiplying by it take, and how a memory budget is divided among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from tangentlens.errors import OutOfMemoryError
from tangentlens.kernels.budget import EXAMPLES, FACTORS, GRAPH, WORKSPACE
from tangentlens.kernels.factored.assembly import Problem, factor_bytes
from tangentlens.kernels.factored.contraction import least_workspace
from tangentlens.kernels.groups import Group
from tangentlens.kernels.tracing.plan import ParameterPlan, Strategy
from tangentlens.models.functional import FunctionalModel

_MOST_COLUMNS = 64


@dataclass(frozen=True)
class Pieces:
    """How much a matrix-free product works on at once: examples differentiated, columns multiplied."""

    examples: int
    columns: int


def formed_bytes(problem: Problem, groups: Sequence[Group]) -> int:
    """The smallest budget that forms the groups' kernels from factors, one parameter after another."""
    plans = [problem.plan.parameters[name] for group in groups for name in group.parameters]
    return problem.reserved + max((_least(problem, plan) for plan in plans), default=0)


def dense_bytes(problem: Problem, groups: Sequence[Group]) -> int:
    """The smallest budget of the oracle, which holds the gradients of all parameters of a group for one example."""
    return problem.reserved + max(_differentiated(problem, _size(problem, group)) for group in groups)


def matrix_free_bytes(problem: Problem, group: Group) -> int:
    """The smallest budget of a product with one column, two examples at a time."""
    graph = EXAMPLES * 3 * problem.plan.bytes_per_example
    return problem.snapshot + ceil(max(_per_column(problem, group) / FACTORS, graph / GRAPH))


def pieces(problem: Problem, group: Group) -> Pieces:
    """Columns and examples of a matrix-free product within the budget."""
    rest = problem.budget - problem.snapshot
    per_example = max(1, problem.plan.bytes_per_example)
    most = int(GRAPH * rest) // (EXAMPLES * per_example) - 2  # columns that two examples leave room for
    columns = max(1, min(_MOST_COLUMNS, int(FACTORS * rest) // _per_column(problem, group), most))
    examples = int(GRAPH * rest) // (per_example * (2 + columns))
    return Pieces(max(EXAMPLES, min(problem.examples, examples)), columns)


def planning_bytes(model: FunctionalModel) -> int:
    """The smallest budget in which the uses of the parameters are checked: their gradients, and twice the largest."""
    sizes = [parameter.numel() * parameter.element_size() for parameter in model.trainable.values()]
    return model.copied + sum(sizes) + 2 * max(sizes)


def require(budget: int, needed: int, what: str) -> None:
    """Raise OutOfMemoryError where the budget is smaller than what is needed."""
    if budget < needed:
        raise OutOfMemoryError(
            f"memory_budget={budget} bytes is too small for {what}: the smallest that would do is {needed} "
            f"bytes ({needed / 1e6:.3g} MB)",
            where="memory_budget",
            remedy="Give more, fewer examples or groups, or method='matrix_free', which holds no kernel.",
            needed=needed,
        )


def _per_column(problem: Problem, group: Group) -> int:
    """One column of a product: gradients in the parameters, tangents and outputs, four times each."""
    item = problem.item
    return 4 * item * (_size(problem, group) + problem.examples * problem.plan.outputs)


def _size(problem: Problem, group: Group) -> int:
    return sum(problem.model.trainable[name].numel() for name in group.parameters)


def _least(problem: Problem, plan: ParameterPlan) -> int:
    """What one parameter takes beside the kernels, in its smallest pieces."""
    if plan.strategy is Strategy.UNUSED:
        return 0
    if plan.strategy is Strategy.DIFFERENTIATED:
        return _differentiated(problem, problem.model.trainable[plan.name].numel())
    width = problem.directions.shape[1] if problem.keep else 1
    factors = factor_bytes(problem, plan, width)
    graph = EXAMPLES * problem.plan.bytes_per_example * (2 + width)
    uses = [[use for i in view.uses if (use := problem.plan.extents[i]) is not None] for view in plan.views]
    work = max((least_workspace(view, problem.sizes(width)) for view in uses if view), default=0)
    return ceil(max(factors / FACTORS, graph / GRAPH, work / WORKSPACE))


def _differentiated(problem: Problem, size: int) -> int:
    width = problem.directions.shape[1] if problem.keep else 1
    graph = problem.plan.bytes_per_example * (2 + width)
    return ceil(max(graph / GRAPH, 4 * 8 * width * size / WORKSPACE))
