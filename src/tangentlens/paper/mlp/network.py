"""The one-hidden-layer MLP with a quadratic activation that learns modular addition (Gromov, arXiv 2301.02679)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError


class QuadraticMLP(nn.Module):
    """f(x) = W2 (W1 x / sqrt(2 p))^2 / width, elementwise square, no biases, all weights drawn from N(0, 1).

    Args:
        p: number of outputs; the input is 2 p wide.
        width: number of hidden units.
        generator: source of the weights, W1 (width, 2 p) before W2 (p, width); no other random state is touched.

    Raises:
        InvalidInputError: p or width is not positive.
    """

    def __init__(self, p: int, width: int, generator: torch.Generator) -> None:
        if p < 1 or width < 1:
            raise InvalidInputError(
                f"an MLP of {p} outputs and {width} hidden units", where="p, width", remedy="Give positive numbers."
            )
        super().__init__()
        self.p, self.width = p, width
        self.hidden = _normal_linear(2 * p, width, generator)
        self.readout = _normal_linear(width, p, generator)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch p"]:
        preactivation = self.hidden(x) / math.sqrt(2 * self.p)  # (*batch, width)
        outputs: Tensor = self.readout(preactivation.square()) / self.width
        return outputs


def _normal_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):  # the default weights, overwritten below, are drawn from the global state
        layer = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
    return layer
