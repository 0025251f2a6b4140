"""Kernels of all groups from factors, however little memory there is for the work."""

import pytest
import torch
from torch import nn

from tangentlens.kernels.factored.assembly import Problem, dense_kernels, oracle_kernel
from tangentlens.kernels.groups import resolve_groups
from tangentlens.kernels.outputs import reduction
from tangentlens.kernels.tracing.plan import Strategy, make_plan
from tangentlens.models.functional import functional_model
from tangentlens.progress import silent
from tests.support.model_zoo import jacobians, reduced


class Mixed(nn.Module):
    """A parameter of each strategy, one weight used twice, and one used in two slices."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 13)
        self.centres, self.scale = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.rand(4))
        self.split = nn.Parameter(torch.randn(8, 4))

    def forward(self, x):
        h = torch.tanh(self.first(torch.tanh(self.first(x)))) * (2 * self.scale)
        h = torch.tanh(h @ self.split[:4].T) + torch.sin(h @ self.split[4:].T)
        return self.last(torch.cdist(h, self.centres))


with torch.random.fork_rng():
    torch.manual_seed(0)
    MODEL, X = Mixed().double(), torch.randn(12, 4, dtype=torch.float64)


@pytest.mark.parametrize("budget", [60_000, 2**30])
@pytest.mark.parametrize("rows", [None, 7])
@pytest.mark.parametrize("outputs", ["trace", "full", "mean"])
def test_kernels_of_every_group(outputs, rows, budget):
    view, chosen = functional_model(MODEL), reduction(outputs)
    plan = make_plan(view, X)
    groups = resolve_groups(view.aliases, "parameter", [])
    problem = Problem(view, plan, X, rows, chosen.directions(plan.outputs), chosen, budget, len(groups) + 1)
    seen = []
    found = dense_kernels(problem, groups, lambda *step: seen.append(step))
    jacobian = jacobians(MODEL, X)
    for group in groups:
        whole = jacobian[group.parameters[0]]
        halves = (whole, None) if rows is None else (whole[:rows], whole[rows:])
        torch.testing.assert_close(found[group.name], reduced(halves[0], outputs, halves[1]), rtol=1e-9, atol=1e-12)
        if budget == 2**30:
            torch.testing.assert_close(oracle_kernel(problem, group), found[group.name], rtol=1e-9, atol=1e-12)
    assert seen[0][1] == 0
    assert seen[-1][1] == seen[-1][2]


def test_every_strategy_is_used():
    plans = make_plan(functional_model(MODEL), X).parameters.values()
    assert {plan.strategy for plan in plans} == {Strategy.FACTORED, Strategy.PULLED_BACK, Strategy.DIFFERENTIATED}
    assert silent("kernels", 0, 1) is None
