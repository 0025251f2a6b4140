"""Float64 matrix products and symmetric eigenproblems, on the library that is fast for the shapes of this package."""

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

_SUBSET = 0.2  # part of the eigenpairs up to which they are found one by one
_ORTHONORMAL = 1e-13  # largest error of an inner product of eigenvectors
_LARGE = 10**8  # multiplications from which it pays to wake a second library's threads


def multiply(A: Float[Tensor, "n m"], B: Float[Tensor, "m b"]) -> Float[Tensor, "n b"]:
    """A @ B. Large products on the CPU go to numpy: its OpenBLAS multiplies 16 to 128 columns 1.5 to 2.5 times as fast
    as the MKL of torch on AMD processors. Small ones stay in torch, whose waiting threads would compete."""
    if A.device.type != "cpu" or A.numel() * B.shape[1] < _LARGE:
        return A @ B
    return torch.from_numpy(A.numpy() @ B.numpy())


def top_eigh(A: Float[Tensor, "m m"], k: int) -> tuple[Float[Tensor, " k"], Float[Tensor, "m k"]]:
    """The k algebraically largest eigenvalues, descending, and eigenvectors of a symmetric matrix.

    A large one on the CPU by LAPACK in scipy's OpenBLAS, 1.4 to 2 times as fast as torch.linalg.eigh: a few eigenpairs
    of many by bisection and inverse iteration (syevr with a subset), half the time of divide and conquer (syevd), which
    is taken for more than a fifth of them and where the subset fails.
    """
    if A.device.type != "cpu" or len(A) ** 3 < _LARGE:
        values, vectors = torch.linalg.eigh(A)
        return values.flip(0)[:k], vectors.flip(1)[:, :k]
    pairs = _subset_eigh(A, k) if k <= _SUBSET * len(A) else None
    values, vectors = pairs or map(torch.from_numpy, scipy.linalg.eigh(A.numpy(), driver="evd", check_finite=False))
    return values.flip(0)[:k], vectors.flip(1)[:, :k]


def _subset_eigh(A: Float[Tensor, "m m"], k: int) -> tuple[Float[Tensor, " k"], Float[Tensor, "m k"]] | None:
    """The k largest eigenpairs, ascending; None where inverse iteration fails on a degenerate spectrum: it then returns
    fewer pairs than asked for, or vectors that are not orthonormal."""
    try:
        subset = (len(A) - k, len(A) - 1)
        found = scipy.linalg.eigh(A.numpy(), driver="evr", subset_by_index=subset, check_finite=False)
    except scipy.linalg.LinAlgError:
        return None
    values, vectors = map(torch.from_numpy, found)
    gram = vectors.T @ vectors
    orthonormal = torch.allclose(gram, torch.eye(len(gram), dtype=gram.dtype), rtol=0, atol=_ORTHONORMAL)
    return (values, vectors) if len(values) == k and orthonormal else None
