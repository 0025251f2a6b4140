"""How well outputs fit targets: accuracy in percent for classes, R^2 for numbers."""

import torch
from jaxtyping import Float
from torch import Tensor


def performance_name(outputs: Float[Tensor, "n C"], targets: Tensor | None, loss: str) -> str:
    """ "accuracy" for classes, "r2" for numbers of the shape of the outputs, "" where neither applies."""
    if targets is None:
        return ""
    if loss == "binary_cross_entropy" or (not targets.is_floating_point() and targets.ndim == 1):
        return "accuracy"
    return "r2" if targets.numel() == outputs.numel() else ""


def fits(outputs: Float[Tensor, "n C"], targets: Tensor, name: str) -> Float[Tensor, "n 2"]:
    """What each input adds to numerator and denominator of 1 - a / b: errors and 1, or squared errors and variation."""
    targets = targets.to(outputs.device)
    if name == "accuracy":
        if outputs.shape[1] > 1 and targets.ndim == 1:
            wrong = (outputs.argmax(dim=1) != targets).double()
        else:
            wrong = ((outputs > 0) != (targets.reshape(outputs.shape) > 0.5)).double().mean(dim=1)
        return torch.stack([wrong, torch.ones_like(wrong)], dim=1)
    wanted = targets.reshape(outputs.shape).to(torch.float64)
    missed = (outputs.to(torch.float64) - wanted).square().sum(dim=1)
    return torch.stack([missed, (wanted - wanted.mean(dim=0)).square().sum(dim=1)], dim=1)


def performance(outputs: Float[Tensor, "n C"], targets: Tensor | None, name: str) -> float:
    """Percent right, or R^2 over these inputs; NaN without a name."""
    if not name or targets is None:
        return float("nan")
    missed, all_of_it = fits(outputs, targets, name).sum(dim=0).tolist()
    share = 1 - missed / all_of_it if all_of_it > 0 else float("nan")
    return 100 * share if name == "accuracy" else share
