"""The empirical neural tangent kernel of a torch module: the one call that users make."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from tangentlens.errors import InvalidInputError
from tangentlens.groups import Group, Groups, resolve_groups
from tangentlens.kernels.budget import default_budget
from tangentlens.kernels.factored import Problem, dense_kernels, oracle_kernel
from tangentlens.kernels.matrix_free import JacobianOperator
from tangentlens.kernels.plan import Plan, Strategy, make_plan
from tangentlens.kernels.prediction import predict
from tangentlens.models.functional import (
    FunctionalModel,
    Inputs,
    PickOutput,
    batch_size,
    concatenate,
    functional_model,
)
from tangentlens.operators import DenseOperator, LinearOperator, SumOperator
from tangentlens.outputs import Reduction, reduction
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)
_NOT_WORTH_ASKING = 1.0  # seconds of forming up to which a dense float64 kernel is always the better thing to have
_METHODS = ("auto", "factored", "matrix_free", "dense")


@dataclass(frozen=True)
class EmpiricalNTK:
    """Kernels of one model on one batch, a symmetric (or crossed) operator for each parameter group.

    Attributes:
        operators: group name -> operator over the kernel's rows.
        outputs: the reduction of the output axis.
        method: how the operators are computed: "factored", "matrix_free" or "dense".
        strategies: parameter name -> how it is treated, and why.
    """

    operators: Mapping[str, LinearOperator]
    outputs: Reduction
    method: str
    strategies: Mapping[str, str]

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the model's order."""
        return tuple(self.operators)

    @cached_property
    def total(self) -> LinearOperator:
        """The sum of the groups' kernels: the kernel of all their parameters together.

        One more matrix where the groups' kernels are matrices, so that a product with it costs one product.
        """
        terms = list(self.operators.values())
        if len(terms) == 1:
            return terms[0]
        total = SumOperator(terms)
        if all(isinstance(term, DenseOperator) for term in terms):
            return DenseOperator(total.dense(), symmetric=total.symmetric, name=total.name)
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

    def explain(self) -> str:
        """How each parameter's kernel was computed, a line each."""
        return "\n".join(f"{name}: {how}" for name, how in self.strategies.items())


def entk(
    model: torch.nn.Module,
    inputs: Inputs,
    *,
    inputs2: Inputs | None = None,
    outputs: str | int | Reduction = "trace",
    groups: Groups = "module",
    method: str = "auto",
    output: PickOutput | None = None,
    memory_budget: int | None = None,
    progress: Progress = silent,
) -> EmpiricalNTK:
    """The empirical NTK K = J J^T of a model at its current parameters, J = d outputs / d parameters.

    Args:
        model: any torch module whose outputs treat the examples of a batch independently. Its parameters with
            requires_grad=True make up the kernel. It is left as it was found: mode, gradients, hooks, buffers.
        inputs: a tensor, a tuple or a dict of tensors with the batch axis (N) first; the model is called as
            model(*inputs) or model(**inputs).
        inputs2: other inputs (M) for the crossed kernel K(inputs, inputs2), which is never symmetric.
        outputs: what becomes of the C outputs. "trace": average over the diagonal of the two output axes, (N, N);
            "mean": kernel of the mean output, (N, N); an int: kernel of that output; "full": (N*C, N*C), rows
            example-major (row i*C + c); or a record of `tangentlens.outputs`.
        groups: "module", "parameter", "all", or group name -> list of glob patterns over parameter names.
        method: "factored" forms each group's kernel from the factors of its parameters' uses; "matrix_free"
            multiplies by the kernel with automatic differentiation; "dense" is the oracle, vmap(jacrev) and one big
            product, for checks; "auto" picks by predicted time under the memory budget.
        output: from what the model returns to the (N, C) tensor; by default the tensor itself, the first of a
            tuple, or the `logits` of a Hugging Face output.
        memory_budget: bytes that the computation may take, by default a quarter of what is free.
        progress: told about every step.

    Returns:
        the kernels. Dense operators are float64; matrix-free ones have the parameters' dtype.

    Raises:
        InvalidInputError: inputs, groups or outputs cannot be used.
        UnsupportedModelError: the kernel would be undefined or silently wrong (dropout or batch statistics in
            training mode, other randomness, examples that influence each other, data-dependent control flow).
        NumericalError: a parameter or an output is NaN or infinite.
    """
    if method not in _METHODS:
        raise InvalidInputError(
            f"method={method!r} is unknown", remedy="Use 'auto', 'factored', 'matrix_free' or 'dense'."
        )
    chosen_outputs = reduction(outputs)
    view = functional_model(model, output)
    chosen_groups = resolve_groups(view.aliases, groups)
    rows = batch_size(inputs)
    everything = inputs if inputs2 is None else concatenate(inputs, inputs2)
    plan = make_plan(view, everything)
    device = next(iter(view.trainable.values())).device
    problem = Problem(
        view,
        plan,
        everything,
        None if inputs2 is None else rows,
        chosen_outputs.directions(plan.outputs).to(device),
        chosen_outputs.keep,
        default_budget(device) if memory_budget is None else memory_budget,
    )
    _warn_unused(plan, chosen_groups)
    picked = _pick(problem, chosen_groups) if method == "auto" else method
    if picked == "matrix_free":
        second = inputs if inputs2 is None else inputs2
        operators = {g.name: _matrix_free(problem, view, g, inputs, second) for g in chosen_groups}
    elif picked == "dense":
        operators = {g.name: _dense(oracle_kernel(problem, g), problem, g) for g in chosen_groups}
    else:
        kernels = dense_kernels(problem, chosen_groups, progress)
        operators = {g.name: _dense(kernels[g.name], problem, g) for g in chosen_groups}
    names = [name for g in chosen_groups for name in g.parameters]
    strategies = {n: f"{plan.parameters[n].strategy.value}: {plan.parameters[n].reason}" for n in names}
    return EmpiricalNTK(operators, chosen_outputs, picked, strategies)


def _dense(kernel: torch.Tensor, problem: Problem, group: Group) -> LinearOperator:
    return DenseOperator(kernel, symmetric=problem.rows is None, name=group.name)


def _matrix_free(
    problem: Problem, view: FunctionalModel, group: Group, first: Inputs, second: Inputs
) -> LinearOperator:
    size = sum(view.trainable[name].numel() * view.trainable[name].element_size() for name in group.parameters)
    columns = max(1, min(64, problem.budget // 4 // max(1, size)))
    per_example = max(1, problem.plan.bytes_per_example) * (2 + columns)
    chunk = max(1, min(problem.examples, problem.budget // 4 // per_example))
    return JacobianOperator(
        view,
        group.parameters,
        first,
        second,
        problem.directions,
        keep=problem.keep,
        chunk=chunk,
        columns=columns,
        name=group.name,
    )


def _pick(problem: Problem, groups: tuple[Group, ...]) -> str:
    """Dense kernels where they fit and take no longer than a solve by products would, products else."""
    told = predict(problem, groups)
    fits = told.formed_bytes <= problem.budget
    quick = told.formed_seconds <= max(told.product_seconds, _NOT_WORTH_ASKING)
    picked = "factored" if fits and quick else "matrix_free"
    _log.info(
        "%s: dense kernels would take %.2g GB (of a budget of %.2g) and %.2g s, a matrix-free solve about %.2g s",
        picked.replace("_", "-"),
        told.formed_bytes / 1e9,
        problem.budget / 1e9,
        told.formed_seconds,
        told.product_seconds,
    )
    return picked


def _warn_unused(plan: Plan, groups: tuple[Group, ...]) -> None:
    asked = [plan.parameters[name] for group in groups for name in group.parameters]
    unused = [p.name for p in asked if p.strategy is Strategy.UNUSED]
    if unused:
        warnings.warn(f"no output depends on {', '.join(unused)}: the kernel of that parameter is zero", stacklevel=3)
