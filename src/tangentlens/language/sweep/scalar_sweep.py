"""Kernels of scalars of the logits, for every parameter group of a language model, from one backward pass for each.

A scalar is one number for each window, so its kernel has N rows, and one backward pass of all windows gives the factors
of every weight. The kernels are formed, so that their modes have exact residuals and no basis or pilot is needed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.kernels.budget import WORKSPACE, default_budget
from tangentlens.language.batches import Batch
from tangentlens.language.model import LanguageModel
from tangentlens.language.sweep.backward import backward_sweep
from tangentlens.language.sweep.check import Sample, sample_scalars
from tangentlens.language.sweep.group_factors import complete, flat
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.language.sweep.planning import planned_chain, stage_inputs
from tangentlens.language.sweep.problem import sweep_problem
from tangentlens.language.sweep.scalar_kernels import scalar_kernels
from tangentlens.language.sweep.scalars import SCALARS, checked_scalars, scalars_with_cotangents
from tangentlens.language.sweep.workspace import in_memory
from tangentlens.models.neutral import plain_torch
from tangentlens.operators import DenseOperator, LinearOperator
from tangentlens.progress import Progress
from tangentlens.records import Eigenpairs


@dataclass(frozen=True)
class ScalarSweep:
    """Kernels of scalars of the logits, of every parameter group.

    Attributes:
        outputs: names of the scalars.
        values: (S, N) the scalars themselves.
        kernels: scalar -> group -> (N, N) kernel, in memory.
        modes: scalar -> group -> leading eigenpairs, whose vectors are the windows' scores; empty where none were
            asked for.
        check: largest relative error of sampled entries against plain autograd; None where check=False.
        members: group -> its parameters.
        seconds: wall time.
    """

    outputs: tuple[str, ...]
    values: Float[Tensor, "S N"]
    kernels: Mapping[str, Mapping[str, LinearOperator]]
    modes: Mapping[str, Mapping[str, Eigenpairs]]
    check: float | None
    members: Mapping[str, tuple[str, ...]]
    seconds: float

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self.members)

    @property
    def windows(self) -> int:
        """N."""
        return self.values.shape[1]

    def __getitem__(self, place: tuple[str, str]) -> LinearOperator:
        """The kernel of a scalar and a group."""
        scalar, group = place
        if scalar not in self.kernels or group not in self.members:
            raise InvalidInputError(
                f"there is no kernel of {scalar!r} and {group!r}",
                where="sweep[scalar, group]",
                remedy=f"Scalars are {', '.join(self.outputs)}; groups are {', '.join(self.groups)}.",
            )
        return self.kernels[scalar][group]


def scalar_sweep(
    lm: LanguageModel, batch: Batch, outputs: str | Sequence[str], options: SweepOptions, progress: Progress
) -> ScalarSweep:
    """Kernels of some scalars of all groups; of the options, the geometry and what belongs to it play no part."""
    names, began = checked_scalars(outputs), time.perf_counter()
    with plain_torch():
        problem = sweep_problem(lm, batch, options)
        versions = problem.versions()
        chain, planned = planned_chain(problem.working, problem.batch, problem.groups)
        workspace = in_memory()
        inputs, hidden = stage_inputs(chain, planned, problem.batch, workspace.scratch)
        values, cotangents = scalars_with_cotangents(problem.working.head, hidden, names)
        aimed = zip(names, cotangents, strict=True) if options.check else ()
        samples = [sample_scalars(problem, SCALARS[name], own) for name, own in aimed]
        made = _Kernels(names, samples)
        passing = backward_sweep(planned, inputs, cotangents, workspace, progress)
        for group, views in complete(problem.groups, planned, passing):
            made.take(group.name, scalar_kernels(flat(views), _workspace(hidden)), torch.finfo(hidden.dtype).eps)
            del views
        made.check()
        problem.require_unchanged(versions)
        modes = {} if options.modes is None else _modes(made.kernels, options)
    seconds = time.perf_counter() - began
    error = max(made.errors.values()) if made.errors else None
    return ScalarSweep(names, values, made.kernels, modes, error, problem.members, seconds)


class _Kernels:
    """Kernels of every scalar and group, compared with a sample of entries by autograd as they are formed."""

    def __init__(self, names: Sequence[str], samples: Sequence[Sample]) -> None:
        self._samples = dict(zip(names, samples, strict=True)) if samples else {}
        self.kernels: dict[str, dict[str, LinearOperator]] = {name: {} for name in names}
        self.errors: dict[tuple[str, str], float] = {}

    def take(self, group: str, formed: Sequence[Float[Tensor, "N N"]], eps: float) -> None:
        for (name, kernels), matrix in zip(self.kernels.items(), formed, strict=True):
            kernels[group] = kernel = DenseOperator(matrix, name=group, eps=eps)
            sample = self._samples.get(name)
            if (sample is not None and sample.vanishes(group)) or not float(matrix.diagonal().max()) > 0:
                raise NumericalError(
                    f"the gradients of {name} vanish in this group at every window, or are not finite",
                    where=group,
                    remedy="Leave out the group, or the scalar.",
                )
            if sample is not None and group in sample.expected:
                self.errors[name, group] = sample.error(kernel)

    def check(self) -> None:
        """Name the groups whose kernels are not those of plain autograd.

        Raises:
            NumericalError: there are such groups.
        """
        for name, sample in self._samples.items():
            sample.check({group: error for (scalar, group), error in self.errors.items() if scalar == name})


def _modes(
    kernels: Mapping[str, Mapping[str, LinearOperator]], options: SweepOptions
) -> dict[str, dict[str, Eigenpairs]]:
    def found(kernel: LinearOperator) -> Eigenpairs:
        return top_eigenpairs(kernel, min(options.modes or 1, kernel.shape[0]), options.tolerance, method="dense")

    return {name: {group: found(kernel) for group, kernel in own.items()} for name, own in kernels.items()}


def _workspace(hidden: Tensor) -> int:
    return int(WORKSPACE * default_budget(hidden.device))
