import math

import pytest
import torch

from tangentlens.errors import InvalidInputError
from tangentlens.paper.mlp.network import QuadraticMLP
from tangentlens.paper.modular_addition.data import one_hot_inputs


def test_outputs_are_the_formula() -> None:
    model = QuadraticMLP(5, 7, torch.Generator().manual_seed(0))
    x = one_hot_inputs(5)
    W1, W2 = model.hidden.weight, model.readout.weight
    assert torch.allclose(model(x), (x @ W1.T / math.sqrt(10)).square() @ W2.T / 7)


def test_weights_are_standard_normal_and_the_parameters_are_the_two_layers() -> None:
    model = QuadraticMLP(29, 512, torch.Generator().manual_seed(0))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert shapes == {"hidden.weight": (512, 58), "readout.weight": (29, 512)}
    for weight in (model.hidden.weight.detach(), model.readout.weight.detach()):
        assert abs(float(weight.mean())) < 5 / math.sqrt(weight.numel())
        assert abs(float(weight.var()) - 1) < 5 * math.sqrt(2 / weight.numel())


def test_seed_decides_and_global_state_is_untouched() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (QuadraticMLP(5, 8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.hidden.weight, second.hidden.weight)
    assert not torch.equal(first.hidden.weight, other.hidden.weight)


def test_no_units_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="positive"):
        QuadraticMLP(5, 0, torch.Generator())
