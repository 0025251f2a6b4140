"""Compare entries of finished kernels with plain automatic differentiation, one example at a time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import NumericalError
from tangentlens.kernels.budget import WORKSPACE
from tangentlens.kernels.differentiation import vectorised_grad
from tangentlens.kernels.factored.assembly import Problem
from tangentlens.kernels.groups import Group
from tangentlens.kernels.tracing.plan import tolerance
from tangentlens.models.inputs import take

_SHARE, _SECONDS = 0.03, 0.015  # of the call that the check may take, and seconds that it may take in any case
_EXAMPLES = 6  # of rows and columns together, at most
_KEPT = 2  # directions compared where each is a row
_PLAIN = 16  # directions up to which an example's gradients are computed one after another
_ROUNDING = 30.0  # of a gradient, in machine epsilons of the largest
_BYTES = 2**26  # of gradients of one example that are held at once
_COLUMNS = 2**20  # of gradients that are multiplied at once in float64

# (group, row examples, column examples, kept directions) -> entries of its kernel, (rows, columns)
Entries = Callable[[str, Sequence[int], Sequence[int], Sequence[int]], Tensor]


@dataclass(frozen=True)
class Sample:
    """What is compared: examples of the rows and of the columns, counted in all inputs, and output directions."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    directions: tuple[int, ...]

    @property
    def examples(self) -> tuple[int, ...]:
        """Each example once."""
        return tuple(dict.fromkeys((*self.left, *self.right)))


def check_entries(problem: Problem, groups: Sequence[Group], entries: Entries, elapsed: float) -> float:
    """Largest relative error of the groups' kernels among a few entries, in the Frobenius norm.

    The examples are drawn over the whole batch, apart from those of the pilots where there are others; two of them
    at least, more while the check takes no more than 3 % of the call.

    Args:
        problem: of the kernels.
        groups: theirs.
        entries: of the finished kernels.
        elapsed: seconds that the call has taken so far.

    Raises:
        NumericalError: an error above 2e-3 (1e-6 where the parameters are float64), or a gradient that is NaN or
            infinite; names the groups.
    """
    allowed = max(_SECONDS, _SHARE * elapsed)
    worst: dict[str, float] = {}
    start = time.perf_counter()
    for sample in _samples(problem):
        found = _errors(problem, groups, entries, sample)
        worst = {name: max(error, worst.get(name, 0.0)) for name, error in found.items()}
        if 2 * (time.perf_counter() - start) > allowed:
            break
    wrong = {name: error for name, error in worst.items() if not error <= tolerance(problem.dtype)}
    if wrong:
        raise NumericalError(
            "kernel entries differ from automatic differentiation, one example at a time: relative error "
            + ", ".join(f"{error:.1e} of {name}" for name, error in wrong.items()),
            where=", ".join(wrong),
            remedy="Look for examples that influence each other; method='dense' differentiates each example alone.",
        )
    return max(worst.values(), default=0.0)


def _samples(problem: Problem) -> list[Sample]:
    """Pairs of examples, and the directions that are compared."""
    generator = torch.Generator().manual_seed(4)
    left, right = (_drawn(problem, side, generator) for side in problem.sides)
    width = problem.directions.shape[1]
    held = _EXAMPLES * sum(p.numel() * p.element_size() for p in problem.model.trainable.values())
    few = _KEPT if held <= problem.allotted(WORKSPACE) else 1
    samples = []
    for place in range(_EXAMPLES // 2):
        kept = torch.randperm(width, generator=generator)[:few].tolist() if problem.keep else range(width)
        if problem.rows is None:
            chosen = left[2 * place : 2 * place + 2]
            samples.append(Sample(chosen, chosen, tuple(kept)))
        else:
            samples.append(Sample(left[place : place + 1], right[place : place + 1], tuple(kept)))
    return [sample for sample in samples if sample.left and sample.right]


def _drawn(problem: Problem, side: slice, generator: torch.Generator) -> tuple[int, ...]:
    """Examples of one side in random order, those of the pilots last."""
    order = (side.start + torch.randperm(side.stop - side.start, generator=generator)).tolist()
    fresh = [row for row in order if row not in problem.plan.witnesses.outputs]
    return tuple((fresh + [row for row in order if row in problem.plan.witnesses.outputs])[:_EXAMPLES])


def _errors(problem: Problem, groups: Sequence[Group], entries: Entries, sample: Sample) -> dict[str, float]:
    expected = _expected(problem, groups, sample)
    largest = max(float(block.norm()) for block in expected.values())
    rounding = _ROUNDING * torch.finfo(problem.dtype).eps
    errors = {}
    for name, block in expected.items():
        if not bool(torch.isfinite(block).all()):
            raise NumericalError(
                "a gradient holds NaN or infinity",
                where=name,
                remedy="Look for a derivative that is not finite (a square root at 0) or numbers that overflow.",
            )
        found = entries(name, sample.left, sample.right, sample.directions).to(block)
        scale = float(block.norm())
        noise = (scale**0.5 + rounding * largest**0.5) ** 2 - scale  # of K = J J^T, where J errs by `rounding` |J|
        error = float((found - block).norm())
        errors[name] = error / (scale + noise / tolerance(problem.dtype)) if error else 0.0
    return errors


def _expected(problem: Problem, groups: Sequence[Group], sample: Sample) -> dict[str, Float[Tensor, "rows columns"]]:
    """The same entries from gradients of one example after another, float64."""
    names = list(dict.fromkeys(name for group in groups for name in group.parameters))
    parameters = {name: problem.model.trainable[name] for name in names}
    outputs = {i: _alone(problem, i) for i in sample.examples}
    size = sum(p.numel() * p.element_size() for p in parameters.values())
    width = max(1, min(min(_BYTES, problem.allotted(WORKSPACE)) // max(1, size), len(sample.directions)))
    blocks = sample.directions if problem.keep else None
    total: dict[str, Tensor] = {}
    for start in range(0, len(sample.directions), len(sample.directions) if blocks else width):
        chosen = sample.directions[start:] if blocks else sample.directions[start : start + width]
        D = problem.directions[:, list(chosen)]
        gradients = {i: _gradients(output, parameters, D) for i, output in outputs.items()}
        for group in groups:
            part = _products(gradients, group.parameters, sample, kept=problem.keep)
            total[group.name] = total[group.name] + part if group.name in total else part
    return total


def _alone(problem: Problem, example: int) -> Float[Tensor, "1 C"]:
    with torch.enable_grad():
        return problem.model({}, take(problem.inputs, slice(example, example + 1)))


def _gradients(
    output: Float[Tensor, "1 C"], parameters: Mapping[str, Tensor], D: Float[Tensor, "C R"]
) -> dict[str, Float[Tensor, "R P"]]:
    """Gradients of f . D[:, r] in every parameter."""
    cotangents = D.T.to(output)[:, None]
    if not output.requires_grad:
        return {name: output.new_zeros(len(cotangents), p.numel()) for name, p in parameters.items()}
    leaves = list(parameters.values())
    if len(cotangents) <= _PLAIN:
        rows = [torch.autograd.grad(output, leaves, c, retain_graph=True, allow_unused=True) for c in cotangents]
        found = [None if row[0] is None else torch.stack(row) for row in zip(*rows, strict=True)]
    else:
        found = list(vectorised_grad([output], leaves, [cotangents]))
    return {
        name: p.new_zeros(len(cotangents), p.numel()) if gradient is None else gradient.reshape(len(gradient), -1)
        for (name, p), gradient in zip(parameters.items(), found, strict=True)
    }


def _products(
    gradients: Mapping[int, Mapping[str, Tensor]], names: Sequence[str], sample: Sample, *, kept: bool
) -> Float[Tensor, "rows columns"]:
    """Inner products of the examples' gradients, summed over the directions unless they are kept."""
    total: Tensor | float = 0.0
    rows = partial(torch.flatten, end_dim=1) if kept else partial(torch.flatten, start_dim=1)
    for name in names:
        a = torch.stack([gradients[i][name] for i in sample.left])
        first = rows(a)
        same = sample.left == sample.right
        total = total + _gram(first, first if same else rows(torch.stack([gradients[i][name] for i in sample.right])))
    return torch.as_tensor(total)


def _gram(a: Float[Tensor, "n P"], b: Float[Tensor, "m P"]) -> Float[Tensor, "n m"]:
    """a b^T in float64, some columns at a time."""
    total = a.new_zeros(len(a), len(b), dtype=torch.float64)
    for x, y in zip(a.split(_COLUMNS, dim=1), b.split(_COLUMNS, dim=1), strict=True):
        left = x.double()
        total += left @ (left if a is b else y.double()).T
    return total
