"""The plan of a model: a strategy for every parameter, with its reason."""

import pytest
import torch
from torch import nn

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.layouts import Layout
from tangentlens.kernels.tracing.plan import Strategy, make_plan
from tangentlens.models.functional import functional_model

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Raw(nn.Module):
    def __init__(self, forward) -> None:
        super().__init__()
        self.w, self._call = nn.Parameter(torch.linspace(1, 2, 12, dtype=torch.float64).reshape(4, 3)), forward

    def forward(self, x):
        return self._call(x, self.w)


def planned(forward, inputs=X):
    return make_plan(functional_model(Raw(forward)), inputs)


@pytest.mark.parametrize(
    ("forward", "strategy", "reason"),
    [
        (lambda x, w: torch.tanh(x @ w.T), Strategy.FACTORED, "used by matmul"),
        (lambda x, w: torch.tanh(x @ (2 * w).T), Strategy.PULLED_BACK, "inner products"),
        (torch.cdist, Strategy.DIFFERENTIATED, "no rule for cdist"),
        (lambda x, w: x + 0 * w.detach()[0], Strategy.UNUSED, "no output depends on it"),
    ],
)
def test_strategies(forward, strategy, reason):
    plan = planned(forward).parameters["w"]
    assert plan.strategy is strategy
    assert reason in plan.reason


def test_sizes_layouts_and_outputs():
    plan = planned(lambda x, w: torch.tanh(x @ w.T))
    assert plan.outputs == 4
    assert plan.layouts == (Layout(0),)
    assert plan.use_sizes == ((4, 3),)
    assert (plan.extents[0].left, plan.extents[0].right, plan.extents[0].value) == (3, 4, 12)


def test_a_rule_that_is_wrong_is_not_used(monkeypatch):
    monkeypatch.setattr("tangentlens.kernels.tracing.plan.materialise_sum", lambda _: torch.zeros(4, 3).double())
    plan = planned(lambda x, w: torch.tanh(x @ w.T)).parameters["w"]
    assert plan.strategy is Strategy.DIFFERENTIATED
    assert "explain the gradient only to" in plan.reason


def test_another_way_on_other_examples_is_refused():
    model = functional_model(Raw(lambda x, w: torch.tanh(x @ w.T) if x.abs().max() < 1e3 else x @ w.T))
    plan = make_plan(model, X)
    torch.testing.assert_close(plan.run(model, {}, X), model({}, X))
    for passing in (lambda x: plan.run(model, {}, x), lambda x: plan.record(model, x)):
        with pytest.raises(UnsupportedModelError, match="another way"):
            passing(1e6 * X)
