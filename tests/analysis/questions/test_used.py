"""Interventions equal what is done by hand, and tell a needed feature from a useless one and from noise."""

import pytest
import torch
from torch import nn

from tangentlens.analysis.arguments.features import read_features
from tangentlens.analysis.case import Options, prepare
from tangentlens.analysis.interventions.intervention_places import intervention_rows, spot
from tangentlens.analysis.modes.kernel_modes import kernel_modes
from tangentlens.analysis.questions.used import Moves, Setup, use_of
from tangentlens.analysis.subject import Subject


def planted(seed=0, N=240, d=12):
    """Inputs with a needed, a useless and a noise feature, and a network trained on the needed one."""
    g = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (N, 2), generator=g).float() * 2 - 1
    X = 0.7 * torch.randn(N, d, generator=g)
    X[:, :2] += signs
    features = {
        "needed": signs[:, 0] > 0,
        "useless": signs[:, 1] > 0,
        "noise": torch.randint(0, 2, (N,), generator=g).bool(),
    }
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(d, 24), nn.ReLU(), nn.Linear(24, 2))
    y = (signs[:, 0] > 0).long()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimiser.step()
    return model, X, y, features


@pytest.fixture(scope="module")
def case():
    model, X, y, features = planted()
    return prepare(Subject(model, X, features, y), Options(modes=10))


def setup_of(case, controls, features=None):
    rows = intervention_rows(case)
    return Setup(
        case.sites, lambda name: spot(case, name, rows), case.cost, rows, features or case.features.features, controls
    )


@pytest.fixture(scope="module")
def modes(case):
    return kernel_modes(case.model, case.inputs, case.kernel, check=False).groups["total"]


def test_a_needed_feature_is_used_and_others_are_not(case, modes):
    setup = setup_of(case, 99)
    found = {name: use_of(case.by_name[name], modes, setup, case.generator(name)) for name in case.by_name}
    assert found["needed"].p == pytest.approx(1 / 100)
    assert found["needed"].low > 0
    assert found["needed"].effect > found["needed"].worst > found["needed"].control
    for name in ("useless", "noise"):
        assert found[name].p > 0.05 or found[name].high < found["needed"].effect / 10


def test_a_move_is_the_exchange_by_hand(case):
    rows = intervention_rows(case)
    order = torch.randperm(len(rows.scoring), generator=torch.Generator().manual_seed(3))
    part = case.by_name["needed"].values[rows.choosing]
    moves = Moves("inputs", part, order, setup_of(case, 8))
    Z, y = case.sites["inputs"].values.double()[rows.scoring], case.targets[rows.scoring]
    train = case.sites["inputs"].values.double()[rows.choosing]
    u = (train - train.mean(dim=0)).T @ part[:, 0]
    u = u / u.norm()
    projected = Z - ((Z - train.mean(dim=0)) @ u)[:, None] * u

    def loss(values):
        with torch.no_grad():
            return case.example_loss(case.model(values.float()), y)

    exchanged = loss(Z + ((Z[order] - Z) @ u)[:, None] * u) - loss(Z)
    assert torch.allclose(moves.costs([moves.basis])[0], exchanged.double().expand(2, -1), atol=1e-5)
    assert torch.allclose(moves.without(), (loss(projected) - loss(Z)).double(), atol=1e-5)
    assert torch.allclose(moves.lost(), (loss(train.mean(dim=0).expand_as(Z)) - loss(Z)).double(), atol=1e-5)


def test_moves_of_a_control_have_the_feature_s_lengths_or_their_own(case):
    rows, g = intervention_rows(case), torch.Generator().manual_seed(0)
    order = torch.arange(len(rows.scoring)).flip(0)
    moves = Moves("inputs", case.by_name["needed"].values[rows.choosing], order, setup_of(case, 8))
    own, same = moves.shifts(moves.basis)
    assert torch.allclose(own, same)
    control = moves.direction(torch.randn(len(rows.choosing), 1, generator=g, dtype=torch.float64))
    by_feature, by_itself = moves.shifts(control)
    assert torch.allclose(by_feature.norm(dim=1), own.norm(dim=1), atol=1e-5)
    Z = case.sites["inputs"].values[rows.scoring]
    assert torch.allclose(by_itself, (Z[order] - Z) @ control.float() @ control.float().T, atol=1e-5)


def test_several_controls_cost_what_each_costs_alone(case):
    rows, g = intervention_rows(case), torch.Generator().manual_seed(0)
    order = torch.arange(len(rows.scoring)).flip(0)
    moves = Moves("0", case.by_name["needed"].values[rows.choosing], order, setup_of(case, 8))
    bases = [moves.direction(torch.randn(len(rows.choosing), 1, generator=g, dtype=torch.float64)) for _ in range(5)]
    alone = torch.cat([moves.costs([basis]) for basis in bases])
    assert torch.allclose(moves.costs(bases), alone, atol=1e-5)


def test_a_feature_that_repeats_another_is_confounded(case, modes):
    features = read_features({"a": case.features.features[0].values[:, 0] > 0,
                              "b": case.features.features[0].values[:, 0] > 0}, case.N).features  # fmt: skip
    assert use_of(features[0], modes, setup_of(case, 8, features), case.generator("x")).confounded == ("b",)


def test_without_targets_the_cost_is_the_change_of_the_outputs():
    model, X, _, features = planted()
    case = prepare(Subject(model, X, features), Options())
    other = case.outputs + 1
    variance = (case.outputs - case.outputs.mean(dim=0)).square().sum(dim=1).mean()
    assert torch.allclose(case.cost(other), torch.full((case.N,), 2.0) / variance)
    assert torch.equal(case.cost(case.outputs), torch.zeros(case.N))
