"""Float64 matrix products and symmetric eigenproblems, on the library that is fast for the shapes of this package."""

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

_LARGE = 10**8  # multiplications from which it pays to wake a second library's threads


def multiply(A: Float[Tensor, "n m"], B: Float[Tensor, "m b"]) -> Float[Tensor, "n b"]:
    """A @ B. Large products on the CPU go to numpy: its OpenBLAS multiplies 16 to 128 columns 1.5 to 2.5 times as fast
    as the MKL of torch on AMD processors. Small ones stay in torch, whose waiting threads would compete."""
    if A.device.type != "cpu" or A.numel() * B.shape[1] < _LARGE:
        return A @ B
    return torch.from_numpy(A.numpy() @ B.numpy())


def top_eigh(A: Float[Tensor, "m m"], k: int) -> tuple[Float[Tensor, " k"], Float[Tensor, "m k"]]:
    """The k algebraically largest eigenvalues, descending, and eigenvectors of a symmetric matrix.

    A large one on the CPU by LAPACK's divide and conquer (syevd) in scipy's OpenBLAS, about 1.5 times as fast as
    torch.linalg.eigh. The relatively robust representations (syevr) would be faster for a few of many, but return
    fewer pairs than asked for where eigenvalues are degenerate, as those of kernels with a symmetry are.
    """
    if A.device.type != "cpu" or len(A) ** 3 < _LARGE:
        values, vectors = torch.linalg.eigh(A)
    else:
        values, vectors = map(torch.from_numpy, scipy.linalg.eigh(A.numpy(), driver="evd", check_finite=False))
    return values.flip(0)[:k], vectors.flip(1)[:, :k]
