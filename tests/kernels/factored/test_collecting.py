"""Factors of a batch give the Jacobian, however the batch is cut."""

import pytest
import torch
from torch import nn

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.factored.collecting import backward, collect
from tangentlens.kernels.factored.factors import materialise
from tangentlens.kernels.tracing.plan import make_plan
from tangentlens.models.functional import functional_model
from tests.support.model_zoo import jacobians

with torch.random.fork_rng():
    torch.manual_seed(0)
    MODEL = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    X = torch.randn(9, 3, dtype=torch.float64)
D = torch.tensor([[1.0, 0.5, 0], [0, 2, -1]], dtype=torch.float64)


@pytest.mark.parametrize("chunk", [1, 2, 4, 9, 100])
def test_factors_give_the_jacobian(chunk):
    view = functional_model(MODEL)
    plan = make_plan(view, X)
    uses = [view_of.uses[0] for name in ("0.weight", "2.weight") for view_of in plan.parameters[name].views]
    found = collect(view, plan, X, uses, D, chunk=chunk, witnesses=plan.witnesses)
    expected = jacobians(MODEL, X)
    for index, name in zip(uses, ("0.weight", "2.weight"), strict=True):
        gradients = materialise(found[index]).flatten(2)  # (N, R, P)
        torch.testing.assert_close(gradients, torch.einsum("ncp,cr->nrp", expected[name].reshape(9, 2, -1), D))


def test_other_outputs_than_the_pilots_are_refused():
    view = functional_model(MODEL)
    plan = make_plan(view, X)
    with pytest.raises(UnsupportedModelError, match="outputs of an example change"):
        collect(view, plan, X + 1, [0], D, chunk=4, witnesses=plan.witnesses)


def test_outputs_without_a_graph_have_no_gradients():
    edge = torch.autograd.graph.get_gradient_edge(torch.zeros(3, requires_grad=True) * 2)
    assert backward(torch.zeros(3, 2), [edge], D) == [None]
