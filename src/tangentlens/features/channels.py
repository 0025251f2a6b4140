"""The features of an autoencoding network: what one input feature puts on its own output channel."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError


def channel_overlaps(vectors: Float[Tensor, "rows k"], inputs: Float[Tensor, "N n"]) -> Float[Tensor, "k n"]:
    """Inner products e_i . z^a of the modes of a full kernel with the features z^a.

    z^a, over the rows (example i, output c) of the kernel, is x_(i, a) where c = a and zero elsewhere, divided by its
    length. The z^a are orthonormal by construction: they live on different channels. They are not centred.

    Args:
        vectors: (N * n, k) modes, rows example-major.
        inputs: (N, n) the inputs of the kernel.

    Returns:
        (k, n) float64; zero where a feature is absent from every input.

    Raises:
        InvalidInputError: the modes do not have N * n rows.
    """
    if len(vectors) != inputs.numel():
        raise InvalidInputError(
            f"modes with {len(vectors)} rows for inputs of shape {tuple(inputs.shape)}",
            where="channel_overlaps",
            remedy="Take the modes of the full kernel of a network with as many outputs as inputs.",
        )
    x = inputs.to(device=vectors.device, dtype=torch.float64)
    lengths: Tensor = torch.linalg.vector_norm(x, dim=0)
    directions = x / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.einsum("iak,ia->ka", vectors.to(torch.float64).unflatten(0, tuple(x.shape)), directions)
