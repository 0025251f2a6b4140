"""Any shape of MLP, with the trace reduction that may use one effective direction: the fit must never be wrong."""

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from torch import nn

import tangentlens as tl
from tangentlens.kernels.factored import separable
from tests.support.model_zoo import jacobians, reduced, relative_error


class SquaredReadout(nn.Module):
    """Sensitivities that are not separable: the outputs are squared after the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 15))

    def forward(self, x):
        return self.layers(x).square()


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 12), st.integers(1, 16)),
    activation=st.sampled_from([nn.Tanh(), nn.ReLU(), nn.Softplus()]),
    seed=st.integers(0, 999),
)
def test_any_shape_of_mlp(sizes, activation, seed):
    n, width, hidden, outputs = sizes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(width, hidden), activation, nn.Linear(hidden, outputs)).double()
        inputs = torch.randn(n, width, dtype=torch.float64)
    expected = sum(reduced(j, "trace") for j in jacobians(model, inputs).values())
    assert relative_error(tl.entk(model, inputs).total.dense(), expected) < 1e-10


def test_what_is_not_separable_is_found_out():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = SquaredReadout().double(), torch.randn(30, 4, dtype=torch.float64)
    expected = jacobians(model, inputs)
    ntk = tl.entk(model, inputs, groups="parameter")
    for name, jacobian in expected.items():
        assert relative_error(ntk[name].dense(), reduced(jacobian, "trace")) < 1e-10


def test_a_unit_that_no_pilot_example_reaches_is_still_counted():
    """Units that only the last of many examples activates, beyond what the pilot and the extra examples show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(90, 90), nn.ReLU(), nn.Linear(90, 14)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(90))
        model[0].bias.fill_(-0.5)
    inputs = torch.eye(90, dtype=torch.float64)  # example i reaches unit i alone
    assert separable._EXTRA < 90 - separable._PILOT
    expected = sum(reduced(j, "trace") for j in jacobians(model, inputs).values())
    assert relative_error(tl.entk(model, inputs).total.dense(), expected) < 1e-10
