"""The dot-product test, of a right and of a wrong backward pass."""

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="the extra `language` is not installed")


from tests.support.doctor_cases import diagnosed, failing, tiny


class Square(torch.autograd.Function):
    """x^2 with a forward-mode derivative 2 x, and `factor` times that in reverse."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, _factor: float) -> Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ARG004
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * 2 * ctx.saved_tensors[0] * gradient, None

    @staticmethod
    def jvp(ctx, tangent, _factor):
        return 2 * ctx.saved_tensors[0] * tangent


class SquareActivation(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return Square.apply(x, self.factor)


@pytest.mark.parametrize(("factor", "fails"), [(1.0, []), (1.01, ["adjointness"])])
def test_a_wrong_backward_is_caught_and_placed(factor, fails):
    model = tiny("llama")
    model.model.layers[0].mlp.act_fn = SquareActivation(factor)
    found = diagnosed(model)
    assert failing(found) == fails
    if fails:
        assert found["adjointness"].finding.endswith("model.layers.0")
