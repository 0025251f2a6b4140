"""Reductions of the output axis: which directions of the outputs a kernel keeps, and which it sums over.

A reduction is a matrix D of output directions, (C, R), and a word on its columns: kept as rows of the kernel,
or summed over. With J_r = d(f . D[:, r]) / d theta,

    kept:    K[(i, r), (j, s)] = J_r(i) . J_s(j)      rows example-major: row i * R + r
    summed:  K[i, j] = sum_r J_r(i) . J_r(j)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError
from tangentlens.operators.tensors import ArrayLike, real_tensor


@dataclass(frozen=True)
class Reduction:
    """A reduction for a model with any number C of outputs; those made here can be pickled and copied.

    Attributes:
        name: what it is called in messages and reports.
        directions: C -> (C, R) float64 matrix of output directions.
        keep: True keeps the R directions as rows of the kernel, False sums over them.
    """

    name: str
    directions: Callable[[int], Float[Tensor, "C R"]] = field(repr=False)
    keep: bool

    def rows_per_example(self, outputs: int) -> int:
        """Rows of the kernel that one example contributes, for a model with that many outputs."""
        return self.directions(outputs).shape[1] if self.keep else 1


def full(scale: ArrayLike | None = None) -> Reduction:
    """Every output is a row: the (N*C, N*C) kernel J J^T of the outputs, rescaled by `scale` (C,) where given."""
    return Reduction("full", partial(_scaled, None if scale is None else _numbers(scale, "full")), keep=True)


def trace(weights: ArrayLike | None = None) -> Reduction:
    """Average over the diagonal of the two output axes: sum_c w_c K[(i,c),(j,c)], w_c = 1/C by default.

    Raises (when applied):
        InvalidInputError: a weight is negative, or there are not C of them.
    """
    return Reduction("trace", partial(_shares, None if weights is None else _numbers(weights, "trace")), keep=False)


def mean() -> Reduction:
    """Average over both output axes: the (N, N) kernel of the mean output."""
    return Reduction("mean", _mean, keep=True)


def weighted(weights: ArrayLike) -> Reduction:
    """The (N, N) kernel of one linear combination sum_c w_c f_c of the outputs."""
    return Reduction("weighted", partial(_column, _numbers(weights, "weighted")), keep=True)


def single(index: int) -> Reduction:
    """The (N, N) kernel of one output."""
    return Reduction(f"output {index}", partial(_unit, index), keep=True)


def directions(basis: ArrayLike) -> Reduction:
    """The (N*R, N*R) kernel of R linear combinations of the outputs, the columns of `basis` (C, R).

    Raises (when applied):
        InvalidInputError: the basis has not C rows.
    """
    return Reduction("directions", partial(_basis, _numbers(basis, "directions")), keep=True)


def _scaled(scale: Tensor | None, outputs: int) -> Float[Tensor, "C C"]:
    return torch.eye(outputs, dtype=torch.float64) if scale is None else torch.diag(_each(scale, outputs))


def _shares(weights: Tensor | None, outputs: int) -> Float[Tensor, "C C"]:
    values = torch.full((outputs,), 1 / outputs, dtype=torch.float64) if weights is None else _each(weights, outputs)
    if bool((values < 0).any()):
        raise InvalidInputError("the weights of a trace cannot be negative", where="tl.outputs.trace")
    return torch.diag(values.sqrt())


def _mean(outputs: int) -> Float[Tensor, "C 1"]:
    return torch.full((outputs, 1), 1 / outputs, dtype=torch.float64)


def _column(weights: Tensor, outputs: int) -> Float[Tensor, "C 1"]:
    return _each(weights, outputs)[:, None]


def _unit(index: int, outputs: int) -> Float[Tensor, "C 1"]:
    if not -outputs <= index < outputs:
        raise InvalidInputError(
            f"output {index} does not exist", where="outputs", remedy=f"The model has {outputs} outputs."
        )
    column = torch.zeros(outputs, 1, dtype=torch.float64)
    column[index] = 1
    return column


def _basis(basis: Tensor, outputs: int) -> Float[Tensor, "C R"]:
    if basis.ndim != 2 or basis.shape[0] != outputs or basis.shape[1] == 0:
        raise InvalidInputError(
            f"the basis has shape {tuple(basis.shape)} but the model has {outputs} outputs",
            where="tl.outputs.directions",
            remedy="Give a row for each output and a column for each direction.",
        )
    return _finite(basis)


_BY_NAME = {"full": full, "trace": trace, "mean": mean}


def reduction(outputs: str | int | np.integer[Any] | Reduction) -> Reduction:
    """The reduction that a user's `outputs=` argument names.

    Raises:
        InvalidInputError: it names none.
    """
    if isinstance(outputs, Reduction):
        return outputs
    if isinstance(outputs, int | np.integer) and not isinstance(outputs, bool):
        return single(int(outputs))
    if isinstance(outputs, str) and outputs in _BY_NAME:
        return _BY_NAME[outputs]()
    raise InvalidInputError(
        f"outputs={outputs!r} names no reduction",
        remedy="Use 'full', 'trace', 'mean', the index of an output, or a record of tangentlens.kernels.outputs.",
    )


def _numbers(values: ArrayLike, function: str) -> Tensor:
    """A float64 copy, so that what is done to `values` later changes no reduction."""
    return real_tensor(values, f"tl.outputs.{function}").to(device="cpu", dtype=torch.float64, copy=True)


def _each(values: Tensor, outputs: int) -> Float[Tensor, " C"]:
    if values.shape != (outputs,):
        raise InvalidInputError(
            f"{tuple(values.shape)} numbers were given for {outputs} outputs", where="outputs", remedy="Give one each."
        )
    return _finite(values)


def _finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise InvalidInputError("a weight is NaN or infinite", where="outputs", remedy="Give finite numbers.")
    return values
