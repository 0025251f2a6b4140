"""Dense kernels of every group from the factors of their parameters' uses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.groups import Group
from tangentlens.kernels.collecting import collect
from tangentlens.kernels.contraction import Sizes, contract, gram_of_rows
from tangentlens.kernels.factors import Part, materialise
from tangentlens.kernels.frames import pull_back_rows
from tangentlens.kernels.jacobian import jacobian, rows_of
from tangentlens.kernels.plan import ParameterPlan, Plan, Strategy
from tangentlens.kernels.separable import separate
from tangentlens.models.functional import FunctionalModel, Inputs, batch_size, take
from tangentlens.outputs import Reduction
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
    """

    model: FunctionalModel
    plan: Plan
    inputs: Inputs
    rows: int | None
    directions: Float[Tensor, "C R"]
    reduction: Reduction
    budget: int

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
    separated = (
        {}
        if problem.keep
        else separate(problem.model, problem.plan, problem.inputs, problem.directions, plans, _chunk(problem))
    )
    passes = _passes(problem, [p for p in plans if p.strategy in _FACTORED and p.name not in separated])
    differentiated = [plan.name for plan in plans if plan.strategy is Strategy.DIFFERENTIATED]
    total = len(separated) + len(passes) + len(differentiated)
    steps = count(1)
    progress("kernels", 0, total)
    for name, factors in separated.items():
        yield name, _sum_over_frames(problem, problem.plan.parameters[name], factors, 1)
        progress("kernels", next(steps), total)
    for members, directions in passes:
        uses = tuple(sorted({i for plan in members for frame in plan.frames for i in frame.uses}))
        factors = _collected(problem, uses, directions)
        for plan in members:
            kernel = _sum_over_frames if plan.strategy is Strategy.FACTORED else _pulled_back
            yield plan.name, kernel(problem, plan, factors, directions.shape[1])
        progress("kernels", next(steps), total)
    for name in differentiated:
        yield name, _differentiated(problem, [name])
        progress("kernels", next(steps), total)


def _collected(problem: Problem, uses: tuple[int, ...], directions: Tensor) -> dict[int, Part]:
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


def _sum_over_frames(problem: Problem, plan: ParameterPlan, factors: Mapping[int, Part], directions: int) -> Tensor:
    kernel: Tensor | None = None
    for frame in plan.frames:
        left, right = _both_sides(problem, [factors[i] for i in frame.uses])
        found = contract(left, right, problem.sizes(directions), workspace=problem.budget // 8, accumulate=_ACCUMULATE)
        kernel = found if kernel is None else kernel.add_(found)
    return _or_zero(problem, kernel)


def _or_zero(problem: Problem, kernel: Tensor | None) -> Tensor:
    return torch.zeros(problem.shape, dtype=_ACCUMULATE, device=problem.device) if kernel is None else kernel


def _both_sides(problem: Problem, parts: list[Part]) -> tuple[list[Part], list[Part]]:
    if problem.rows is None:
        return parts, parts
    left, right = problem.sides
    return [p.rows(left) for p in parts], [p.rows(right) for p in parts]


def _pulled_back(problem: Problem, plan: ParameterPlan, factors: Mapping[int, Part], directions: int) -> Tensor:
    parameter = problem.model.trainable[plan.name]

    def gradients(side: slice) -> Callable[[slice], Tensor]:
        def rows(rows: slice) -> Float[Tensor, "n R P"]:
            there = slice(side.start + rows.start, side.start + rows.stop)
            total = parameter.new_zeros((there.stop - there.start) * directions, parameter.numel())
            for frame in plan.frames:
                for i in frame.uses:
                    total += pull_back_rows(frame, parameter, materialise(factors[i].rows(there)).flatten(0, 1))
            return total.view(-1, directions, parameter.numel()).to(_ACCUMULATE)

        return rows

    columns = max(parameter.numel(), *(frame.value.numel() for frame in plan.frames))
    return _gram(problem, gradients, columns, directions)


def _differentiated(problem: Problem, names: Sequence[str]) -> Tensor:
    parameters = {name: problem.model.trainable[name] for name in names}
    matrix = problem.directions.to(next(iter(parameters.values())))

    def gradients(side: slice) -> Callable[[slice], Tensor]:
        def rows(rows: slice) -> Float[Tensor, "n R P"]:
            batch = take(problem.inputs, slice(side.start + rows.start, side.start + rows.stop))
            pieces = jacobian(problem.model, batch, parameters, matrix, chunk=rows.stop - rows.start)
            return torch.cat([rows_of(piece) for _, piece in pieces]).to(_ACCUMULATE)

        return rows

    columns = sum(parameter.numel() for parameter in parameters.values())
    return _gram(problem, gradients, columns, problem.directions.shape[1])


def _gram(
    problem: Problem, gradients: Callable[[slice], Callable[[slice], Tensor]], columns: int, directions: int
) -> Tensor:
    left, right = problem.sides
    return gram_of_rows(
        gradients(left),
        gradients(right),
        problem.sizes(directions),
        columns,
        problem.budget // 8,
        _ACCUMULATE,
        symmetric=problem.rows is None,
    )


def _passes(problem: Problem, plans: Sequence[ParameterPlan]) -> list[tuple[list[ParameterPlan], Tensor]]:
    """Parameters and directions that are worked on together: as many as half of the budget holds the factors of."""
    room = problem.budget // 2
    directions = problem.directions
    width = directions.shape[1]
    if not problem.keep and plans:
        largest = max(factor_bytes(problem, plan, 1) for plan in plans)
        width = max(1, min(width, room // max(1, largest)))
    passes: list[tuple[list[ParameterPlan], Tensor]] = []
    members: list[ParameterPlan] = []
    held = 0
    for plan in plans:
        size = factor_bytes(problem, plan, width)
        if members and held + size > room:
            passes.append((members, directions))
            members, held = [], 0
        members.append(plan)
        held += size
    if members:
        passes.append((members, directions))
    return [(group, block) for group, _ in passes for block in directions.split(width, dim=1)]


def factor_bytes(problem: Problem, plan: ParameterPlan, directions: int) -> int:
    """Memory of the factors of one parameter for a number of directions."""
    item = next(iter(problem.model.trainable.values())).element_size()
    sizes = [problem.plan.use_sizes[i] for frame in plan.frames for i in frame.uses]
    return problem.examples * item * sum(directions * result + operand for result, operand in sizes)


def _chunk(problem: Problem, directions: int = 8) -> int:
    """Examples in one forward pass: its graph, and the backward passes through it, within a quarter of the budget."""
    per_example = max(1, problem.plan.bytes_per_example) * (2 + directions)
    return max(1, min(problem.examples, problem.budget // 4 // per_example))
