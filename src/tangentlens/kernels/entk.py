"""The empirical neural tangent kernel of a torch module: the one call that users make."""

import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.kernels.budget import parse_budget
from tangentlens.kernels.check import check_entries
from tangentlens.kernels.cost import dense_bytes, formed_bytes, matrix_free_bytes, pieces, planning_bytes, require
from tangentlens.kernels.factored.assembly import Problem, dense_kernels, oracle_kernel
from tangentlens.kernels.groups import Group, Groups, resolve_groups
from tangentlens.kernels.matrix_free import JacobianOperator, Side
from tangentlens.kernels.outputs import Reduction, reduction
from tangentlens.kernels.prediction import predict
from tangentlens.kernels.tracing.plan import Plan, Strategy, make_plan
from tangentlens.models.functional import FunctionalModel, functional_model, through_closures
from tangentlens.models.inputs import as_inputs, batch_size, concatenate, take
from tangentlens.models.neutral import plain_torch
from tangentlens.models.outputs import PickOutput
from tangentlens.operators import DenseOperator, LinearOperator, SumOperator
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)
_FLOAT64 = torch.finfo(torch.float64).eps
_SHORT = 1.0  # seconds of forming up to which a dense float64 kernel is always the better thing to have
_METHODS = ("auto", "factored", "matrix_free", "dense")
_SNAPSHOT = 8  # parameters are copied where that takes at most this part of the memory budget


@dataclass(frozen=True)
class EmpiricalNTK:
    """Kernels of one model on one batch, a symmetric (or crossed) operator for each parameter group.

    Attributes:
        operators: group name -> operator over the kernel's rows.
        outputs: the reduction of the output axis.
        method: how the operators are computed: "factored", "matrix_free" or "dense".
        strategies: parameter name -> how it is treated, and why.
        check: largest relative error among the groups, on entries compared with plain automatic differentiation one
            example at a time; None where no check was asked for.
        left_out: trainable parameters that are in no group, and so in none of the kernels.
        notes: what else a reader of the kernels should know.
    """

    operators: Mapping[str, LinearOperator]
    outputs: Reduction
    method: str
    strategies: Mapping[str, str]
    check: float | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the model's order."""
        return tuple(self.operators)

    @cached_property
    def total(self) -> LinearOperator:
        """The sum of the groups' kernels: the kernel of the parameters of all groups together.

        Parameters in no group (`left_out`) have no part in it: groups="all" takes every trainable parameter. One more
        matrix where the groups' kernels are matrices, so that a product with it costs one product.
        """
        terms = list(self.operators.values())
        if len(terms) == 1:
            return terms[0]
        total = SumOperator(terms)
        if all(isinstance(term, DenseOperator) for term in terms):
            return DenseOperator(total.dense(), symmetric=total.symmetric, name=total.name, eps=total.eps)
        return total

    def __getitem__(self, group: str) -> LinearOperator:
        if group not in self.operators:
            raise InvalidInputError(
                f"there is no group {group!r}", where="groups", remedy=f"The groups are {', '.join(self.operators)}."
            )
        return self.operators[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.operators)

    def __len__(self) -> int:
        return len(self.operators)

    def __repr__(self) -> str:
        shape = next(iter(self.operators.values())).shape
        parts = [f"{len(self)} groups", f"shape={shape}", f"outputs={self.outputs.name!r}", f"method={self.method!r}"]
        parts.append("not checked" if self.check is None else f"check={self.check:.1e}")
        if self.left_out:
            parts.append(f"{len(self.left_out)} parameters in no group")
        return f"EmpiricalNTK({', '.join(parts)})"

    def explain(self) -> str:
        """How each parameter's kernel was computed, a line each, and what was checked and left out."""
        lines = [f"{name}: {how}" for name, how in self.strategies.items()]
        lines += self.notes
        if self.left_out:
            lines.append(
                f"in no group, and so not in ntk.total: {', '.join(self.left_out)}; groups='all' takes every parameter"
            )
        if self.check is None:
            return "\n".join([*lines, "not checked against automatic differentiation (check=False)"])
        return "\n".join(
            [*lines, f"entries of a sample of examples equal automatic differentiation to {self.check:.1e}"]
        )


def entk(
    model: torch.nn.Module,
    inputs: Any,
    *,
    inputs2: Any = None,
    outputs: str | int | Reduction = "trace",
    groups: Groups = "module",
    method: str = "auto",
    check: bool = True,
    output: PickOutput | None = None,
    memory_budget: int | float | str | None = None,
    progress: Progress = silent,
) -> EmpiricalNTK:
    """The empirical NTK K = J J^T of a model at its current parameters, J = d outputs / d parameters.

    Args:
        model: any torch module whose outputs treat the examples of a batch independently. Its parameters with
            requires_grad=True make up the kernel. It is never changed: the computation runs on a private copy of its
            structure, with the parameters as they are at the start of the call. Parameters of float16 or bfloat16
            are computed with in float32, on copies.
        inputs: a tensor, a tuple or a dict of tensors with the batch axis (N) first; the model is called as
            model(*inputs) or model(**inputs). Arrays and lists are made tensors.
        inputs2: other inputs (M) for the crossed kernel K(inputs, inputs2), which is never symmetric.
        outputs: what becomes of the C outputs. "trace": average over the diagonal of the two output axes, (N, N);
            "mean": kernel of the mean output, (N, N); an int: kernel of that output; "full": (N*C, N*C), rows
            example-major (row i*C + c); or a record of `tangentlens.kernels.outputs`.
        groups: "module", "parameter", "all", or group name -> list of glob patterns over parameter names.
        method: "factored" forms each group's kernel from the factors of its parameters' uses; "matrix_free"
            multiplies by the kernel with automatic differentiation; "dense" is the oracle, vmap(jacrev) and one big
            product, for checks; "auto" picks by predicted time under the memory budget.
        check: compare entries of the finished kernels among a sample of examples with plain automatic differentiation,
            one example at a time; of a matrix-free kernel those of a small batch of its own.
        output: from what the model returns to the (N, C) tensor; by default the tensor itself, the first of a
            tuple, or the `logits` of a Hugging Face output.
        memory_budget: bytes that the computation may take, a number or "500MB"; by default a quarter of what is free.
        progress: called after every step.

    Returns:
        the kernels. Dense operators are float64; matrix-free ones have the parameters' dtype.

    Raises:
        InvalidInputError: inputs, groups or outputs cannot be used.
        UnsupportedModelError: the kernel would be undefined or silently wrong (dropout or batch statistics in
            training mode, other randomness, examples that influence each other, data-dependent control flow).
        NumericalError: a parameter, an output or a gradient is NaN or infinite; the check found an error; the
            parameters changed during the call.
        OutOfMemoryError: the budget cannot hold the smallest pieces.
    """
    if method not in _METHODS:
        raise InvalidInputError(
            f"method={method!r} is unknown", remedy="Use 'auto', 'factored', 'matrix_free' or 'dense'."
        )
    start, ambient = time.perf_counter(), torch.get_default_device()
    with plain_torch(), torch.no_grad():
        reduced, budget = reduction(outputs), parse_budget(memory_budget, _device(model))
        view = functional_model(model, output, copied=budget // _SNAPSHOT, device=ambient)
        chosen = resolve_groups(view.aliases, groups, [n for n, p in model.named_parameters() if not p.requires_grad])
        problem = _problem(view, inputs, inputs2, reduced, budget, len(chosen))
        _warn_unused(problem.plan, chosen)
        picked = _pick(problem, chosen) if method == "auto" else method
        operators = _operators(problem, chosen, picked, progress)
        error = (
            check_entries(problem, chosen, _Entries(problem, operators), time.perf_counter() - start) if check else None
        )
        problem.model.require_unchanged()
    names = [name for g in chosen for name in g.parameters]
    plans = problem.plan.parameters
    return EmpiricalNTK(
        operators,
        problem.reduction,
        picked,
        {n: f"{plans[n].strategy.value}: {plans[n].reason}" for n in names},
        error,
        tuple(n for n in plans if n not in set(names)),
        _notes(problem.model),
    )


def _device(model: object) -> torch.device:
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def _problem(view: FunctionalModel, inputs: Any, inputs2: Any, reduced: Reduction, budget: int, groups: int) -> Problem:
    """Plan the kernels of a number of groups."""
    like = next(iter(view.trainable.values()))
    first = as_inputs(inputs, like)
    rows = batch_size(first)
    everything = first if inputs2 is None else concatenate(first, as_inputs(inputs2, like, "inputs2"))
    require(budget, planning_bytes(view), "the gradients of the parameters")
    view = through_closures(view, everything)
    plan = make_plan(view, everything, budget)
    directions = reduced.directions(plan.outputs).to(like.device)
    return Problem(
        view, plan, everything, None if inputs2 is None else rows, directions, reduced, budget, held=groups + 1
    )


def _operators(problem: Problem, groups: Sequence[Group], method: str, progress: Progress) -> dict[str, LinearOperator]:
    if method == "matrix_free":
        require(problem.budget, max(matrix_free_bytes(problem, group) for group in groups), "matrix-free products")
        sides = _sides(problem)
        return {g.name: _matrix_free(problem, g, sides) for g in groups}
    if method == "dense":
        require(problem.budget, dense_bytes(problem, groups), "the gradients of every example")
        return {g.name: _dense(oracle_kernel(problem, g), problem, g) for g in groups}
    require(problem.budget, formed_bytes(problem, groups), "the kernels")
    kernels = dense_kernels(problem, groups, progress)
    return {g.name: _dense(kernels[g.name], problem, g) for g in groups}


def _dense(kernel: Tensor, problem: Problem, group: Group) -> LinearOperator:
    if not bool(torch.isfinite(kernel).all()):
        raise NumericalError(
            "the kernel holds NaN or infinity",
            where=group.name,
            remedy="Look for a derivative that is not finite (a square root at 0) or numbers that overflow.",
        )
    eps = torch.finfo(problem.dtype).eps ** 2  # K = J J^T
    return DenseOperator(kernel, symmetric=problem.rows is None, name=group.name, eps=max(eps, _FLOAT64))


def _sides(problem: Problem) -> tuple[Side, Side]:
    left, right = problem.sides
    first = Side(take(problem.inputs, left), problem.plan.witnesses)
    if problem.rows is None:
        return first, first
    return first, Side(take(problem.inputs, right), problem.plan.witnesses.behind(right.start))


def _matrix_free(problem: Problem, group: Group, sides: tuple[Side, Side]) -> JacobianOperator:
    return JacobianOperator(
        problem.model,
        problem.plan,
        group.parameters,
        sides,
        problem.directions,
        keep=problem.keep,
        pieces=pieces(problem, group),
        name=group.name,
    )


@dataclass(frozen=True)
class _Entries:
    """Entries of finished kernels, for the check."""

    problem: Problem
    operators: Mapping[str, LinearOperator]

    def __call__(self, group: str, left: Sequence[int], right: Sequence[int], kept: Sequence[int]) -> Tensor:
        operator, problem = self.operators[group], self.problem
        places = [[i - side.start for i in chosen] for chosen, side in zip((left, right), problem.sides, strict=True)]
        if isinstance(operator, JacobianOperator):
            first = take(problem.inputs, torch.tensor(left))
            operator = operator.on(first, first if left == right else take(problem.inputs, torch.tensor(right)))
            places = [list(range(len(left))), list(range(len(right)))]
        per_example, chosen = (problem.directions.shape[1], kept) if problem.keep else (1, (0,))
        rows, columns = ([i * per_example + r for i in side for r in chosen] for side in places)
        if isinstance(operator, DenseOperator):
            return operator.matrix[rows][:, columns]
        units = torch.zeros(operator.shape[1], len(columns), dtype=operator.dtype, device=operator.device)
        units[columns, range(len(columns))] = 1
        return (operator @ units)[rows]


def _notes(model: FunctionalModel) -> tuple[str, ...]:
    if model.widened is None:
        return ()
    return (f"computed in float32, on copies of parameters of {model.widened}",)


def _pick(problem: Problem, groups: Sequence[Group]) -> str:
    """Dense kernels where they fit and take no longer than a solve by products would, products else."""
    predicted = predict(problem, groups)
    fits = formed_bytes(problem, groups) <= problem.budget
    quick = predicted.formed_seconds <= max(predicted.product_seconds, _SHORT)
    picked = "factored" if fits and quick else "matrix_free"
    _log.info(
        "%s: dense kernels would take %.2g GB (of a budget of %.2g) and %.2g s, a matrix-free solve about %.2g s",
        picked.replace("_", "-"),
        formed_bytes(problem, groups) / 1e9,
        problem.budget / 1e9,
        predicted.formed_seconds,
        predicted.product_seconds,
    )
    return picked


def _warn_unused(plan: Plan, groups: Sequence[Group]) -> None:
    asked = [plan.parameters[name] for group in groups for name in group.parameters]
    unused = [p.name for p in asked if p.strategy is Strategy.UNUSED]
    if unused:
        warnings.warn(f"no output depends on {', '.join(unused)}: the kernel of that parameter is zero", stacklevel=3)
