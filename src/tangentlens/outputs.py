"""Reductions of the output axis: which directions of the outputs a kernel keeps, and which it sums over.

A reduction is a matrix D of output directions, (C, R), and a word on its columns: kept as rows of the kernel,
or summed over. With J_r = d(f . D[:, r]) / d theta,

    kept:    K[(i, r), (j, s)] = J_r(i) . J_s(j)      rows example-major: row i * R + r
    summed:  K[i, j] = sum_r J_r(i) . J_r(j)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError


@dataclass(frozen=True)
class Reduction:
    """A reduction for a model with any number C of outputs.

    Attributes:
        name: what it is called in messages and reports.
        directions: C -> (C, R) float64 matrix of output directions.
        keep: True keeps the R directions as rows of the kernel, False sums over them.
    """

    name: str
    directions: Callable[[int], Float[Tensor, "C R"]]
    keep: bool

    def rows_per_example(self, outputs: int) -> int:
        """Rows of the kernel that one example contributes, for a model with that many outputs."""
        return self.directions(outputs).shape[1] if self.keep else 1


def full(scale: Sequence[float] | Tensor | None = None) -> Reduction:
    """Every output is a row: the (N*C, N*C) kernel J J^T of the outputs, rescaled by `scale` (C,) where given."""

    def directions(outputs: int) -> Tensor:
        return torch.eye(outputs, dtype=torch.float64) if scale is None else torch.diag(_vector(scale, outputs))

    return Reduction("full", directions, keep=True)


def trace(weights: Sequence[float] | Tensor | None = None) -> Reduction:
    """Average over the diagonal of the two output axes: sum_c w_c K[(i,c),(j,c)], w_c = 1/C by default.

    Raises (when applied):
        InvalidInputError: a weight is negative, or there are not C of them.
    """

    def directions(outputs: int) -> Tensor:
        values = torch.full((outputs,), 1 / outputs, dtype=torch.float64)
        if weights is not None:
            values = _vector(weights, outputs)
            if bool((values < 0).any()):
                raise InvalidInputError("the weights of a trace cannot be negative", where="tl.outputs.trace")
        return torch.diag(values.sqrt())

    return Reduction("trace", directions, keep=False)


def mean() -> Reduction:
    """Average over both output axes: the (N, N) kernel of the mean output."""
    return Reduction("mean", lambda outputs: torch.full((outputs, 1), 1 / outputs, dtype=torch.float64), keep=True)


def weighted(weights: Sequence[float] | Tensor) -> Reduction:
    """The (N, N) kernel of one linear combination sum_c w_c f_c of the outputs."""
    return Reduction("weighted", lambda outputs: _vector(weights, outputs)[:, None], keep=True)


def single(index: int) -> Reduction:
    """The (N, N) kernel of one output."""

    def directions(outputs: int) -> Tensor:
        if not -outputs <= index < outputs:
            raise InvalidInputError(
                f"output {index} does not exist", where="outputs", remedy=f"The model has {outputs} outputs."
            )
        return torch.eye(outputs, dtype=torch.float64)[:, [index]]

    return Reduction(f"output {index}", directions, keep=True)


def directions(basis: Float[Tensor, "C R"]) -> Reduction:
    """The (N*R, N*R) kernel of R linear combinations of the outputs, the columns of `basis`."""

    def columns(outputs: int) -> Tensor:
        if basis.shape[0] != outputs:
            raise InvalidInputError(
                f"the basis has {basis.shape[0]} rows but the model has {outputs} outputs",
                where="tl.outputs.directions",
            )
        return basis.to(device="cpu", dtype=torch.float64)

    return Reduction("directions", columns, keep=True)


_BY_NAME = {"full": full, "trace": trace, "mean": mean}


def reduction(outputs: "str | int | Reduction") -> Reduction:
    """The reduction that a user's `outputs=` argument names.

    Raises:
        InvalidInputError: it names none.
    """
    if isinstance(outputs, Reduction):
        return outputs
    if isinstance(outputs, int) and not isinstance(outputs, bool):
        return single(outputs)
    if isinstance(outputs, str) and outputs in _BY_NAME:
        return _BY_NAME[outputs]()
    raise InvalidInputError(
        f"outputs={outputs!r} names no reduction",
        remedy="Use 'full', 'trace', 'mean', the index of an output, or a record of tangentlens.outputs.",
    )


def _vector(values: Sequence[float] | Tensor, outputs: int) -> Float[Tensor, " C"]:
    vector = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    if vector.shape != (outputs,):
        raise InvalidInputError(
            f"{tuple(vector.shape)} numbers were given for {outputs} outputs", where="outputs", remedy="Give one each."
        )
    return vector
