"""The checks between an operator and a solver: finite products, measured symmetry, true residuals."""

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.operators import LinearOperator
from tangentlens.records import Eigenpairs

_SMALLEST, _LARGEST = 1e-140, 1e140  # entries with float64 squares and sums of squares


def float64_device(op: LinearOperator) -> torch.device:
    """The operator's device, or the CPU where that has no float64 (Apple's)."""
    return torch.device("cpu") if op.device.type == "mps" else op.device


def product(op: LinearOperator, V: Float[Tensor, "n b"]) -> Float[Tensor, "n b"]:
    """K V in float64, from a product in the operator's own dtype.

    Raises:
        NumericalError: the product has NaN or infinity, or numbers whose squares overflow; names the operator.
        InvalidInputError: the product has another shape than V.
    """
    W = op @ V
    if W.shape != V.shape:
        raise InvalidInputError(
            f"the product with an array of shape {tuple(V.shape)} has shape {tuple(W.shape)}",
            where=op.name,
            remedy="A symmetric operator returns as many rows and columns as it is given.",
        )
    require_finite(W, op.name)
    require_scale(W, op.name, least=0.0)
    return W.detach().to(dtype=torch.float64, device=V.device)


def require_finite(W: Float[Tensor, "n b"], name: str) -> None:
    """Raise NumericalError, naming the operator, where W has NaN or infinity."""
    if not bool(torch.isfinite(W).all()):
        raise NumericalError(
            "the operator has NaN or infinity",
            where=name,
            remedy="Look for NaN or very large numbers in this group's parameters and in the inputs "
            "(training may have diverged); float64 helps where float32 overflows.",
        )


def require_scale(W: Float[Tensor, "n b"], name: str, least: float = _SMALLEST) -> None:
    """Raise NumericalError, naming the operator, where squares of the entries of W overflow or all vanish."""
    largest = float(W.abs().max()) if W.numel() else 0.0
    if largest > _LARGEST or 0 < largest < least:
        raise NumericalError(
            f"the operator has entries of {largest:.1e}, whose squares cannot be represented",
            where=name,
            remedy="Scale the model's outputs or the operator: ScaledOperator(op, factor).",
        )


def symmetry_tolerance(eps: float) -> float:
    """Asymmetry, relative to the norm of K, that rounding may cause: eps^(2/3), 4e-11 in float64, 2e-5 in float32."""
    return float(eps ** (2 / 3))


def require_symmetric(asymmetry: float, scale: float, op: LinearOperator) -> None:
    """Raise NumericalError where the measured asymmetry exceeds what rounding explains.

    Args:
        asymmetry: a norm of K - K^T, or of a part of it.
        scale: the same norm of K.
    """
    if asymmetry > symmetry_tolerance(op.eps) * scale:
        raise NumericalError(
            f"the operator is not symmetric: its asymmetry is {asymmetry / scale:.1e} of its norm, "
            f"and rounding in {op.dtype} explains {symmetry_tolerance(op.eps):.1e}",
            where=op.name,
            remedy="Look for randomness between products (dropout, sampling) or an error in the product; "
            "pass symmetric=False for a crossed kernel.",
        )


def relative_residuals(norms: Float[Tensor, " k"], values: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """||K v - lambda v|| / |lambda|, with 0 / 0 = 0."""
    return torch.where(norms == 0, norms, norms / values.abs())


def with_residuals(
    op: LinearOperator,
    values: Float[Tensor, " k"],
    vectors: Float[Tensor, "n k"],
    tol: float,
    products: int,
    eps: float,
) -> Eigenpairs:
    """Eigenpairs with their true residuals, from one product with K.

    The residual of a numerically zero eigenvalue is at the rounding level of ||K||, its relative residual of order
    one: it does not count as converged, whatever the solver estimated.

    Args:
        products: columns multiplied so far; the k columns of this product are added.
        eps: relative rounding of the products that found the pairs.
    """
    norms = torch.linalg.vector_norm(product(op, vectors) - vectors * values, dim=0)
    residuals = relative_residuals(norms, values)
    return Eigenpairs(values, vectors, residuals, residuals <= tol, products + len(values), eps)
