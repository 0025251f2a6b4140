"""The linearised predictor: kernel ridge regression with the kernel of a trained network."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError


@dataclass(frozen=True)
class Comparison:
    """A predictor against the trained model, on held-out rows.

    With g the predictor's outputs, f the model's and y the targets, all (n_test, C), sums over rows and outputs:

    Attributes:
        r2: 1 - sum (g - f)^2 / sum (f - mean of f over rows)^2: how well it predicts the model's outputs, at most 1.
        loss_ratio: sum (g - y)^2 / sum (f - y)^2: its squared error in units of the model's, 1 where they are as good.
        accuracy_gap: percentage points of accuracy (largest output at the largest target) that the model is ahead.
    """

    r2: float
    loss_ratio: float
    accuracy_gap: float


def compare_linearised(
    kernel: Tensor,
    outputs: Tensor,
    targets: Tensor,
    train: Tensor,
    test: Tensor,
    *,
    ridge: float = 1e-6,
) -> tuple[Comparison, Comparison]:
    """Kernel ridge regression around the trained model and around zero, each against the model on the test rows.

    Around the model the kernel fits what the model leaves of the targets on the train rows,
    g = f + K_* (K + r I)^-1 (y - f); around zero it fits the targets themselves, g = K_* (K + r I)^-1 y. K is over the
    train rows, K_* from test to train rows, one kernel for all outputs; r = ridge * mean diagonal of K.

    Args:
        kernel: (N, N) kernel of the trained model, for example the trace or mean over its outputs.
        outputs: (N, C) the trained model's outputs f.
        targets: (N, C) y.
        train: (n_train,) rows fitted.
        test: (n_test,) rows compared, none of them in train.
        ridge: relative to the mean diagonal; a scale of the kernel changes nothing.

    Returns:
        around the model, around zero.

    Raises:
        InvalidInputError: shapes do not fit, train and test share rows or are empty, or ridge is negative.
        NumericalError: the kernel or the arrays hold NaN or infinity, or K + r I is not positive definite.
    """
    _check(kernel, outputs, targets, train, test, ridge)
    K, f, y = (array.detach().to(torch.float64) for array in (kernel, outputs, targets))
    starts = torch.stack([f, torch.zeros_like(f)])
    fits = starts[:, test] + torch.stack([ridge_predictions(K, (y - g)[train], train, test, ridge) for g in starts])
    trained, zero = (compare(fit, f[test], y[test]) for fit in fits)
    return trained, zero


def ridge_predictions(
    kernel: Float[Tensor, "N N"],
    residuals: Float[Tensor, "n_train C"],
    train: Int[Tensor, " n_train"],
    test: Int[Tensor, " n_test"],
    ridge: float,
) -> Float[Tensor, "n_test C"]:
    """K_* (K + ridge * mean diagonal * I)^-1 residuals, by a Cholesky factorisation."""
    K = kernel[train][:, train]
    shifted = K + ridge * K.diagonal().mean() * torch.eye(len(K), dtype=K.dtype, device=K.device)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if int(failed):
        raise NumericalError(
            "the kernel over the train rows plus the ridge is not positive definite",
            where="ridge_predictions",
            remedy="Raise the ridge.",
        )
    return kernel[test][:, train] @ torch.cholesky_solve(residuals, factor)


def compare(
    predictions: Float[Tensor, "n C"], outputs: Float[Tensor, "n C"], targets: Float[Tensor, "n C"]
) -> Comparison:
    """A predictor against a model on the same rows; see Comparison for the definitions."""
    wanted = targets.argmax(dim=1)
    right = [(values.argmax(dim=1) == wanted).double().mean() for values in (outputs, predictions)]
    spread = (outputs - outputs.mean(dim=0)).square().sum()
    return Comparison(
        r2=float(1 - (predictions - outputs).square().sum() / spread),
        loss_ratio=float((predictions - targets).square().sum() / (outputs - targets).square().sum()),
        accuracy_gap=100 * float(right[0] - right[1]),
    )


def _check(kernel: Tensor, outputs: Tensor, targets: Tensor, train: Tensor, test: Tensor, ridge: float) -> None:
    N = len(kernel)
    if tuple(kernel.shape) != (N, N) or outputs.ndim != 2 or outputs.shape != targets.shape or len(outputs) != N:
        raise InvalidInputError(
            f"kernel {tuple(kernel.shape)}, outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}",
            where="compare_linearised",
            remedy="Give (N, N), (N, C) and (N, C) over the same N rows.",
        )
    if len(train) == 0 or len(test) == 0 or bool(torch.isin(train, test).any()):
        raise InvalidInputError(
            f"{len(train)} train and {len(test)} test rows, which must be disjoint and not empty", where="train, test"
        )
    if ridge < 0:
        raise InvalidInputError(f"the ridge is {ridge}", where="ridge", remedy="Give zero or a positive number.")
    for name, array in (("kernel", kernel), ("outputs", outputs), ("targets", targets)):
        if not bool(array.isfinite().all()):
            raise NumericalError("the array holds NaN or infinity", where=name)
