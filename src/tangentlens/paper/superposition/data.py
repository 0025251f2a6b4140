"""Sparse inputs of Toy Models of Superposition (Elhage et al., arXiv 2209.10652), each of unit length."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tangentlens.errors import InvalidInputError


def sparse_inputs(examples: int, features: int, sparsity: float, *, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """(examples, features) inputs; every row has length 1.

    A feature is 0 with probability `sparsity`, else uniform in [0, 1), independently of the others; then the row is
    divided by its Euclidean norm. A row in which every feature is 0 has no direction: it is drawn again until it
    has one, so the rows follow the stated law given that at least one feature is present.

    Args:
        examples: number of rows.
        features: number of columns.
        sparsity: probability in [0, 1) that a feature is absent.
        generator: source of the draw.

    Raises:
        InvalidInputError: a size is not positive, or the sparsity is outside [0, 1).
    """
    if examples < 1 or features < 1:
        raise InvalidInputError(
            f"cannot draw {examples} inputs of {features} features", remedy="Give at least 1 of each."
        )
    if not 0 <= sparsity < 1:
        raise InvalidInputError(
            f"sparsity = {sparsity} is outside [0, 1)",
            where="sparsity",
            remedy="It is the probability that a feature is absent; at 1 every input would be empty.",
        )
    x = _draw(examples, features, sparsity, generator)
    while (empty := ~x.any(dim=1)).any():
        x[empty] = _draw(int(empty.sum()), features, sparsity, generator)
    return functional.normalize(x, dim=1)


def _draw(examples: int, features: int, sparsity: float, generator: torch.Generator) -> Float[Tensor, "n k"]:
    value = torch.rand(examples, features, generator=generator)
    present = torch.rand(examples, features, generator=generator) >= sparsity
    return value * present
