"""Kernels of the groups as a backward pass gives their factors: checked, then kept, or solved for modes and freed."""

from dataclasses import replace

from torch import Tensor

from tangentlens.errors import NumericalError
from tangentlens.kernels.groups import Group
from tangentlens.language.sweep.approximate_modes import ApproximateModes, approximate_modes, geometry_errors
from tangentlens.language.sweep.check import Sample
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.cotangents import Cotangents
from tangentlens.language.sweep.group_factors import GroupFactors, flat
from tangentlens.language.sweep.options import SweepOptions
from tangentlens.language.sweep.results import Results
from tangentlens.operators import LinearOperator


class GroupKernels:
    """Kernels of the groups, or their modes in `results`.

    Args:
        options: of the sweep.
        basis: (d, r) or (N, d, r), with the error of every window's S along it.
        sample: entries of the kernels by autograd; None where they are not checked.
        results: modes go there, and a group that has some is left alone.
    """

    def __init__(self, options: SweepOptions, basis: Cotangents, sample: Sample | None, results: Results) -> None:
        self._options, self._sample, self._results = options, sample, results
        self._basis: Tensor = basis.basis
        self._left_out: Tensor = basis.left_out
        self.kernels: dict[str, LinearOperator] = {}
        self.errors: dict[str, float] = {}

    def take(self, group: Group, views: GroupFactors) -> None:
        """Check a group's kernel, and keep it or its modes."""
        if self._results.modes(group.name) is not None:
            return
        kernel = CompressedKernel(flat(views), self._basis.shape[-1], group.name)
        if self._sample is not None and group.name in self._sample.expected:
            self.errors[group.name] = self._sample.error(kernel)
            if not self.errors[group.name] <= self._sample.limit:
                return  # `check` names all such groups together
        if self._options.modes is None:
            self.kernels[group.name] = kernel
        else:
            self._results.keep_modes(group.name, self._modes(kernel, self._options.modes))

    def check(self) -> None:
        """Name the groups whose kernels are not those of plain autograd.

        Raises:
            NumericalError: there are such groups.
        """
        if self._sample is not None:
            self._sample.check(self.errors)

    def _modes(self, kernel: CompressedKernel, count: int) -> ApproximateModes:
        found = approximate_modes(kernel, count, self._options.tolerance, self._basis.shape[-2])
        rounding = self._sample is not None and self._sample.vanishes(kernel.name)
        if rounding or not float(found.pairs.values[0]) > 0:
            raise NumericalError(
                "the gradients of this group vanish at every window, or are not finite",
                where=kernel.name,
                remedy="Leave it out of the groups.",
            )
        found = replace(
            found,
            left_out=geometry_errors(found.pairs.vectors, self._left_out),
            check=self.errors.get(kernel.name),
        )
        return replace(found, statistics=self._options.record(kernel, found, self._basis), moves=())
