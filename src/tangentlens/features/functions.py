"""Functions of the input that no label was needed for: principal scores of some values, and random ones."""

import torch
from jaxtyping import Float
from torch import Tensor


def principal_functions(values: Float[Tensor, "N w"], k: int) -> Float[Tensor, "N r"]:
    """(N, min(k, rank)) the leading left singular vectors of the values less their mean over inputs, float64.

    They are the scores of the principal components, each scaled to length 1.
    """
    Z = values.detach().to(torch.float64)
    Z = Z - Z.mean(dim=0)
    U, sizes, _ = torch.linalg.svd(Z, full_matrices=False)
    rank = int((sizes > max(Z.shape) * torch.finfo(values.dtype).eps * sizes[0]).sum())
    leading: Tensor = U[:, : min(k, rank)]
    return leading


def random_functions(n: int, k: int, generator: torch.Generator) -> Float[Tensor, "n k"]:
    """(n, k) orthonormal functions of the input with mean zero, their span uniform among all such, float64."""
    draws = torch.randn(n, k, generator=generator, dtype=torch.float64)
    Q: Tensor = torch.linalg.qr(draws - draws.mean(dim=0))[0]
    return Q
