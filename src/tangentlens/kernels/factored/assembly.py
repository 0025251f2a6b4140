"""Dense kernels of every group from the factors of their parameters' uses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.kernels.budget import EXAMPLES, FACTORS, GRAPH, WORKSPACE
from tangentlens.kernels.factored.collecting import collect
from tangentlens.kernels.factored.contraction import Sizes, contract, gram_of_rows
from tangentlens.kernels.factored.factors import Factors, materialise
from tangentlens.kernels.factored.separable import PROBES, separable, separate
from tangentlens.kernels.groups import Group
from tangentlens.kernels.jacobian import jacobian, rows_of
from tangentlens.kernels.outputs import Reduction
from tangentlens.kernels.tracing.parameter_views import pull_back_rows
from tangentlens.kernels.tracing.plan import ParameterPlan, Plan, Strategy
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, batch_size, take
from tangentlens.progress import Progress

_ACCUMULATE = torch.float64
_FACTORED = (Strategy.FACTORED, Strategy.PULLED_BACK)


@dataclass(frozen=True)
class Problem:
    """Everything that the kernels of one call depend on.

    Attributes:
        inputs: examples of the rows, and behind them those of the columns where the kernel is crossed.
        rows: number of row examples where the kernel is crossed, None where rows and columns are the same.
        directions: (C, R) float64.
        reduction: that they come from.
        budget: bytes that the computation may take.
        held: kernels that are in memory at once.
    """

    model: FunctionalModel
    plan: Plan
    inputs: Inputs
    rows: int | None
    directions: Float[Tensor, "C R"]
    reduction: Reduction
    budget: int
    held: int

    @property
    def keep(self) -> bool:
        """Whether directions are rows of the kernel, or summed over."""
        return self.reduction.keep

    @property
    def examples(self) -> int:
        """All examples, of rows and columns."""
        return batch_size(self.inputs)

    @property
    def sides(self) -> tuple[slice, slice]:
        """The examples of the rows and of the columns."""
        if self.rows is None:
            return slice(0, self.examples), slice(0, self.examples)
        return slice(0, self.rows), slice(self.rows, self.examples)

    def sizes(self, directions: int) -> Sizes:
        """Sizes for a number of directions at a time."""
        left, right = self.sides
        return Sizes(left.stop - left.start, right.stop - right.start, directions, self.keep)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of each kernel."""
        sizes = self.sizes(self.directions.shape[1])
        per_example = sizes.rows_per_example
        return sizes.left_examples * per_example, sizes.right_examples * per_example

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next(iter(self.model.trainable.values())).dtype

    @property
    def item(self) -> int:
        """Bytes of a number in that dtype."""
        return self.dtype.itemsize

    @property
    def snapshot(self) -> int:
        """Bytes of the parameters' copies."""
        return self.model.copied

    @property
    def reserved(self) -> int:
        """Bytes that are taken however the work is cut."""
        return self.snapshot + self.held * self.shape[0] * self.shape[1] * _ACCUMULATE.itemsize

    def allotted(self, share: float) -> int:
        """Bytes of a share of what the budget leaves beside the kernels."""
        return max(1, int(share * (self.budget - self.reserved)))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.model.trainable.values())).device


def dense_kernels(problem: Problem, groups: Sequence[Group], progress: Progress) -> dict[str, Float[Tensor, "n m"]]:
    """The kernel of every group, float64, from as few passes over the model as the memory budget allows."""
    owner = {name: group.name for group in groups for name in group.parameters}
    kernels: dict[str, Tensor] = {}
    for name, kernel in _parameter_kernels(problem, [problem.plan.parameters[name] for name in owner], progress):
        group = owner[name]
        kernels[group] = kernels[group].add_(kernel) if group in kernels else kernel
    return {group.name: _or_zero(problem, kernels.get(group.name)) for group in groups}


def _parameter_kernels(
    problem: Problem, plans: Sequence[ParameterPlan], progress: Progress
) -> Iterator[tuple[str, Tensor]]:
    """(name, a summand of that parameter's kernel), a fresh matrix each."""
    separated: set[str] = set()
    steps = count(1)
    progress("kernels", 0, len(plans))
    for name, kernel in _separated_kernels(problem, plans):
        yield name, kernel
        separated.add(name)
        progress("kernels", next(steps), len(plans))
    passes = _passes(problem, [p for p in plans if p.strategy in _FACTORED and p.name not in separated])
    differentiated = [plan.name for plan in plans if plan.strategy is Strategy.DIFFERENTIATED]
    total = len(separated) + len(passes) + len(differentiated)
    for members, directions in passes:
        yield from _kernels_of_pass(problem, members, directions)
        progress("kernels", next(steps), total)
    for name in differentiated:
        yield name, _differentiated(problem, [name])
        progress("kernels", next(steps), total)


def _separated_kernels(problem: Problem, plans: Sequence[ParameterPlan]) -> Iterator[tuple[str, Tensor]]:
    """Kernels of the parameters whose sensitivities separate, where directions are summed over."""
    for members in [] if problem.keep else _together(problem, separable(plans), PROBES + 2):
        separated = separate(problem.model, problem.plan, problem.inputs, problem.directions, members, _chunk(problem))
        for name, factors in separated.items():
            yield name, _sum_over_views(problem, problem.plan.parameters[name], factors, 1)


def _kernels_of_pass(
    problem: Problem, members: Sequence[ParameterPlan], directions: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """The kernels of some parameters for some directions, from one collection of their factors."""
    uses = tuple(sorted({i for plan in members for view in plan.views for i in view.uses}))
    factors = _collected(problem, uses, directions)
    for plan in members:
        kernel = _sum_over_views if plan.strategy is Strategy.FACTORED else _pulled_back
        yield plan.name, kernel(problem, plan, factors, directions.shape[1])


def _collected(problem: Problem, uses: tuple[int, ...], directions: Tensor) -> dict[int, Factors]:
    return collect(
        problem.model,
        problem.plan,
        problem.inputs,
        uses,
        directions,
        chunk=_chunk(problem, directions.shape[1]),
        witnesses=problem.plan.witnesses,
    )


def oracle_kernel(problem: Problem, group: Group) -> Float[Tensor, "n m"]:
    """J J^T with J from vmap(jacrev), the slow and plain way."""
    return _differentiated(problem, group.parameters)


def _sum_over_views(problem: Problem, plan: ParameterPlan, factors: Mapping[int, Factors], directions: int) -> Tensor:
    kernel: Tensor | None = None
    for view in plan.views:
        left, right = _both_sides(problem, [factors[i] for i in view.uses])
        found = contract(
            left, right, problem.sizes(directions), workspace=problem.allotted(WORKSPACE), accumulate=_ACCUMULATE
        )
        kernel = found if kernel is None else kernel.add_(found)
    return _or_zero(problem, kernel)


def _or_zero(problem: Problem, kernel: Tensor | None) -> Tensor:
    return torch.zeros(problem.shape, dtype=_ACCUMULATE, device=problem.device) if kernel is None else kernel


def _both_sides(problem: Problem, uses: list[Factors]) -> tuple[list[Factors], list[Factors]]:
    if problem.rows is None:
        return uses, uses
    left, right = problem.sides
    return [use.rows(left) for use in uses], [use.rows(right) for use in uses]


def _pulled_back(problem: Problem, plan: ParameterPlan, factors: Mapping[int, Factors], directions: int) -> Tensor:
    parameter = problem.model.trainable[plan.name]

    def gradients(side: slice) -> Callable[[slice], Tensor]:
        def rows(rows: slice) -> Float[Tensor, "n R P"]:
            there = slice(side.start + rows.start, side.start + rows.stop)
            total = parameter.new_zeros((there.stop - there.start) * directions, parameter.numel())
            for view in plan.views:
                for i in view.uses:
                    total += pull_back_rows(view, parameter, materialise(factors[i].rows(there)).flatten(0, 1))
            return total.view(-1, directions, parameter.numel()).to(_ACCUMULATE)

        return rows

    columns = max(parameter.numel(), *(view.value.numel() for view in plan.views))
    return _gram(problem, gradients, columns, directions)


def _differentiated(problem: Problem, names: Sequence[str]) -> Tensor:
    parameters = {name: problem.model.trainable[name] for name in names}
    matrix = problem.directions.to(next(iter(parameters.values())))
    columns = sum(parameter.numel() for parameter in parameters.values())
    width = matrix.shape[1]
    if not problem.keep:
        width = max(1, min(width, problem.allotted(WORKSPACE) // (4 * _ACCUMULATE.itemsize * columns)))

    def gradients(side: slice, D: Tensor) -> Callable[[slice], Tensor]:
        def rows(rows: slice) -> Float[Tensor, "n R P"]:
            batch = take(problem.inputs, slice(side.start + rows.start, side.start + rows.stop))
            pieces = jacobian(problem.model, batch, parameters, D, chunk=_chunk(problem, D.shape[1]))
            return torch.cat([rows_of(piece) for _, piece in pieces]).to(_ACCUMULATE)

        return rows

    total: Tensor | None = None
    for D in matrix.split(width, dim=1):
        kernel = _gram(problem, partial(gradients, D=D), columns, D.shape[1])
        total = kernel if total is None else total.add_(kernel)
    return _or_zero(problem, total)


def _gram(
    problem: Problem, gradients: Callable[[slice], Callable[[slice], Tensor]], columns: int, directions: int
) -> Tensor:
    left, right = problem.sides
    return gram_of_rows(
        gradients(left),
        gradients(right),
        problem.sizes(directions),
        columns,
        problem.allotted(WORKSPACE),
        _ACCUMULATE,
        symmetric=problem.rows is None,
    )


def _passes(problem: Problem, plans: Sequence[ParameterPlan]) -> list[tuple[list[ParameterPlan], Tensor]]:
    """Parameters and directions that are worked on together: as many as their share of the memory holds."""
    directions = problem.directions
    width = directions.shape[1]
    if not problem.keep and plans:
        largest = max(factor_bytes(problem, plan, 1) for plan in plans)
        widest = problem.allotted(GRAPH) // (EXAMPLES * max(1, problem.plan.bytes_per_example)) - 2
        width = max(1, min(width, problem.allotted(FACTORS) // max(1, largest), widest))
    groups = _together(problem, plans, width)
    return [(group, block) for group in groups for block in directions.split(width, dim=1)]


def _together(problem: Problem, plans: Sequence[ParameterPlan], width: int) -> list[list[ParameterPlan]]:
    """Consecutive parameters whose factors for `width` directions fit into their share of the memory."""
    groups: list[list[ParameterPlan]] = []
    held = 0
    for plan in plans:
        size = factor_bytes(problem, plan, width)
        if not groups or held + size > problem.allotted(FACTORS):
            groups.append([])
            held = 0
        groups[-1].append(plan)
        held += size
    return groups


def factor_bytes(problem: Problem, plan: ParameterPlan, directions: int) -> int:
    """Memory of the factors of one parameter for a number of directions."""
    sizes = [problem.plan.use_sizes[i] for view in plan.views for i in view.uses]
    return problem.examples * problem.item * sum(directions * result + operand for result, operand in sizes)


def _chunk(problem: Problem, directions: int = 8) -> int:
    """Examples in one forward pass: as many as the memory holds the graph and the backward passes of."""
    per_example = max(1, problem.plan.bytes_per_example) * (2 + directions)
    return max(EXAMPLES, min(problem.examples, problem.allotted(GRAPH) // per_example))
