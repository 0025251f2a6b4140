"""The ReLU output model of Toy Models of Superposition (Elhage et al., arXiv 2209.10652)."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError


class SuperpositionNetwork(nn.Module):
    """f(x) = ReLU(W^T W x + b): n features pass through m < n dimensions and back by the same weight.

    W (m, n) is Xavier-normal, entries N(0, 2 / (m + n)); b starts at 0.

    Args:
        features: n, the width of input and output.
        hidden: m, the width between.
        generator: source of the initial weight.

    Raises:
        InvalidInputError: a size is not positive.
    """

    def __init__(self, features: int = 50, hidden: int = 10, *, generator: torch.Generator) -> None:
        super().__init__()
        if features < 1 or hidden < 1:
            raise InvalidInputError(
                f"features = {features} and hidden = {hidden} must be positive", remedy="Give at least 1 of each."
            )
        self.W = nn.Parameter(torch.empty(hidden, features))
        self.b = nn.Parameter(torch.zeros(features))
        nn.init.xavier_normal_(self.W, generator=generator)

    def forward(self, x: Float[Tensor, "N n"]) -> Float[Tensor, "N n"]:
        """(N, n) reconstruction of the inputs."""
        return torch.relu(x @ self.W.T @ self.W + self.b)


def geometric_importance(features: int, ratio: float = 0.8) -> Float[Tensor, " n"]:
    """(n,) I_i = ratio^i, i = 0, 1, ...: how much the loss cares for each feature."""
    return ratio ** torch.arange(features, dtype=torch.get_default_dtype())


def reconstruction_loss(importance: Float[Tensor, " n"]) -> Callable[[Tensor, Tensor], Tensor]:
    """The objective (outputs (N, n), inputs (N, n)) -> mean over inputs and features of I_i (x_i - f_i)^2."""

    def loss(outputs: Tensor, inputs: Tensor) -> Tensor:
        return (importance * (inputs - outputs) ** 2).mean()

    return loss


def represented_features(W: Float[Tensor, "m n"], threshold: float = 0.75) -> Bool[Tensor, " n"]:
    """(n,) whether a feature comes back through the bottleneck at least `threshold` strong: (W^T W)_aa >= threshold."""
    return W.square().sum(dim=0) >= threshold
