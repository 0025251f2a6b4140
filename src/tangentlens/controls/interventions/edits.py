"""What can be done to the values at a site, each a function from values to values of the same shape."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

# (rows, w) -> (rows, w)
Edit = Callable[[Tensor], Tensor]


def without_directions(basis: Float[Tensor, "w d"], around: Float[Tensor, " w"]) -> Edit:
    """Projects every row, seen from `around`, off the span of orthonormal directions: z -> z - B B^T (z - a)."""

    def edit(values: Tensor) -> Tensor:
        B = basis.to(values)
        return values - (values - around) @ B @ B.T

    return edit


def without_functions(basis: Float[Tensor, "N d"]) -> Edit:
    """Projects every column, a function of the input, off the span of orthonormal functions: Z -> (I - Q Q^T) Z.

    It needs all N inputs at once: it says what the values would be had these functions of the input never been there,
    and is no operation that a network could do on one input.
    """

    def edit(values: Tensor) -> Tensor:
        Q = basis.to(values)
        return values - Q @ (Q.T @ values)

    return edit


def shifted(direction: Float[Tensor, " w"], length: float) -> Edit:
    """Steers: adds the same vector, of that length along a unit direction, to every row."""

    def edit(values: Tensor) -> Tensor:
        return values + length * direction.to(values)

    return edit
