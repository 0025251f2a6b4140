"""Directions, edits, effects and doses against plain formulas on small networks."""

import math

import pytest
import torch
from torch import nn

from tangentlens.controls.interventions.directions import parameter_directions, patterns, random_directions, span
from tangentlens.controls.interventions.edits import shifted, without_directions, without_functions
from tangentlens.controls.interventions.effects import (
    Evaluation,
    amplitude_kept,
    effect_of,
    relative_change,
    variance_removed,
)
from tangentlens.controls.interventions.steering import dose_response, first_order
from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.features.functions import principal_functions, random_functions
from tangentlens.kernels import entk
from tangentlens.models.sites import entering, input_site, leaving, parameter_site
from tangentlens.paper.training import cross_entropy


@pytest.fixture
def random():
    return torch.Generator().manual_seed(5)


@pytest.fixture
def net(random):
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5, generator=random)
    return model


@pytest.fixture
def x(random):
    return torch.randn(40, 6, generator=random, dtype=torch.float64)


def evaluation(labels, **families):
    return Evaluation(labels, torch.arange(len(labels)), cross_entropy, families)


def test_the_parameter_direction_of_a_mode_is_u(net, x):
    ntk = entk(net, x, outputs=1, groups="all").total.dense()
    values, vectors = torch.linalg.eigh(ntk)
    V = vectors[:, -3:]
    U = parameter_directions(net, x, V, output=lambda returned: returned[:, 1])
    # J J^T v = lambda v, so J u = +-sqrt(lambda) v for u = J^T v / sqrt(lambda)
    site = parameter_site(net, x, output=lambda returned: returned[:, 1])
    for u, v, value in zip(U.T, V.T, values[-3:], strict=True):
        pushed = first_order(site, shifted(u, 1.0))[:, 0]
        sign = torch.sign(pushed @ v)
        torch.testing.assert_close(pushed, sign * value.sqrt() * v, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(U.T @ U, torch.eye(3, dtype=torch.float64), atol=1e-8, rtol=0)


def test_with_several_outputs_it_is_the_steepest_way_to_scale_the_mode(net, x, random):
    q = random_functions(40, 1, random)
    (u,) = parameter_directions(net, x, q).T
    outputs = net(x).detach()
    c = (outputs - outputs.mean(dim=0)).T @ q[:, 0]
    amplitude = torch.outer(q[:, 0], c / c.norm())
    site = parameter_site(net, x)
    gains = [
        float((first_order(site, shifted(d, 1.0)) * amplitude).sum())
        for d in (u, *random_directions(103, 20, random).T)
    ]
    assert gains[0] > 2 * max(abs(gain) for gain in gains[1:])
    assert all(p.grad is None for p in net.parameters())


def test_patterns_are_covariances_and_principal_components_are_patterns(net, x, random):
    site = entering(net, x, "2")
    Z = site.values - site.values.mean(dim=0)
    q = random_functions(40, 2, random)
    P = patterns(site, q)
    torch.testing.assert_close(P[:, 1], Z.T @ q[:, 1] / (Z.T @ q[:, 1]).norm())
    components = patterns(site, principal_functions(site.values, 4))
    expected = torch.linalg.svd(Z)[2][:4]
    torch.testing.assert_close((components.T @ expected.T).abs(), torch.eye(4, dtype=torch.float64), atol=1e-8, rtol=0)


def test_a_function_that_does_not_vary_has_no_pattern(net, x, random):
    both = torch.cat([torch.full((40, 1), 40**-0.5, dtype=torch.float64), random_functions(40, 1, random)], dim=1)
    assert patterns(input_site(net, x), both).shape == (6, 1)
    with pytest.raises(InvalidInputError, match="over 40 rows"):
        patterns(input_site(net, x), both[:39])


def test_off_its_patterns_nothing_is_correlated_with_the_functions(net, x, random):
    site = leaving(net, x, "0")
    q = random_functions(40, 3, random)
    edit = without_directions(span(patterns(site, q)), site.around)
    assert float((q.T @ edit(site.values)).abs().max()) < 1e-12
    torch.testing.assert_close(edit(edit(site.values)), edit(site.values))
    torch.testing.assert_close(edit(site.values).mean(dim=0), site.values.mean(dim=0))


def test_functions_are_projected_off_every_unit(net, x, random):
    site, q = entering(net, x, "2"), random_functions(40, 5, random)
    left = without_functions(q)(site.values)
    assert float((q.T @ left).abs().max()) < 1e-12
    torch.testing.assert_close(site.values - left, q @ (q.T @ site.values))
    assert variance_removed(site, without_functions(principal_functions(site.values, 10))) == pytest.approx(100)


def test_the_span_counts_dependent_directions_once(random):
    D = random_directions(7, 2, random)
    assert span(torch.cat([D, D @ torch.ones(2, 1, dtype=torch.float64)], dim=1)).shape == (7, 2)


def test_effects_are_what_they_say(random):
    before = torch.randn(12, 4, generator=random, dtype=torch.float64)
    after = torch.randn(12, 4, generator=random, dtype=torch.float64)
    labels = torch.arange(12) % 4
    found = evaluation(labels, f=random_functions(12, 2, random))(before, after)
    p, q = before.softmax(1), after.softmax(1)
    assert found.divergence == pytest.approx(float((p * (p / q).log()).sum() / 12))
    assert found.accuracy == pytest.approx(100 * float((after.argmax(1) == labels).double().mean()))
    assert found.loss_change == pytest.approx(float(cross_entropy(after, labels) - cross_entropy(before, labels)))
    assert found.change == pytest.approx(float((after - before).norm() / (before - before.mean(0)).norm()))
    assert relative_change(before, before) == 0


def test_the_amplitude_left_of_a_family(random):
    basis = random_functions(20, 3, random)
    weights = torch.randn(3, 2, generator=random, dtype=torch.float64)
    rest = torch.randn(20, 2, generator=random, dtype=torch.float64)
    rest = rest - basis @ (basis.T @ rest)
    assert amplitude_kept(basis @ weights, 0.3 * basis @ weights + rest, basis) == pytest.approx(30)
    assert amplitude_kept(basis @ weights, rest, basis) == pytest.approx(0, abs=1e-9)
    assert math.isnan(amplitude_kept(rest, basis @ weights, basis))


def test_doses_on_a_linear_map_are_predicted_and_proportional(x, random):
    linear = nn.Linear(6, 3).double()
    site = input_site(linear, x)
    labels = torch.zeros(40, dtype=torch.int64)
    D = random_directions(6, 2, random)
    found = dose_response(site, D, (0.1, 1.0), labels, torch.arange(40))
    torch.testing.assert_close(found.change, found.predicted)
    torch.testing.assert_close(found.change[1], 10 * found.change[0])
    assert float(found.unpredicted.max()) < 1e-12
    outputs = linear(x).detach()
    size = (linear.weight.detach() @ D * site.scale).norm(dim=0).square().mean().sqrt() * math.sqrt(40)
    assert float(found.change[1]) == pytest.approx(float(size / (outputs - outputs.mean(0)).norm()))


def test_a_response_that_is_not_linear_shows(x):
    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(6, dtype=torch.float64))

        def forward(self, x):
            return ((x * self.w) ** 2)[:, :2]

    site = input_site(Square(), x)
    D = torch.eye(6, dtype=torch.float64)[:, :2]
    found = dose_response(site, D, (0.01, 3.0), torch.zeros(40, dtype=torch.int64), torch.arange(40))
    assert found.unpredicted[0] < 0.05 * found.change[0]
    assert found.unpredicted[1] > 0.5 * found.change[1]


def test_an_ablation_is_evaluated_on_the_rows_asked_for(net, x):
    labels = net(x).argmax(dim=1)
    site = entering(net, x, "2")
    everything = without_directions(torch.eye(10, dtype=torch.float64), site.around)
    whole = effect_of(site, everything, evaluation(labels))
    assert whole.accuracy < 100
    kept = torch.nonzero(labels == site.run(everything(site.values)).argmax(dim=1)[0]).flatten()
    assert effect_of(site, everything, Evaluation(labels, kept, cross_entropy, {})).accuracy == 100


def test_functions_without_a_direction_are_left_out_and_arrays_and_eigenpairs_are_taken(net, x):
    pairs = top_eigenpairs(entk(net, x).total, 3)
    constant = torch.ones(len(x), 1, dtype=torch.float64)
    joined = torch.cat([pairs.vectors[:, :1], constant], dim=1)
    found = parameter_directions(net, x, joined)
    assert found.shape[1] == 1
    torch.testing.assert_close(found, parameter_directions(net, x, pairs.vectors[:, :1]))
    assert parameter_directions(net, x, constant).shape[1] == 0
    site = input_site(net, x)
    for each in (pairs, pairs.vectors.numpy(), pairs.vectors.tolist()):
        torch.testing.assert_close(patterns(site, each), patterns(site, pairs.vectors))
        torch.testing.assert_close(parameter_directions(net, x, each), parameter_directions(net, x, pairs.vectors))
    for attempt in (lambda F: patterns(site, F), lambda F: parameter_directions(net, x, F)):
        with pytest.raises(InvalidInputError, match="one row for each input"):
            attempt(pairs.vectors[1:])
        with pytest.raises(NumericalError, match="NaN"):
            attempt(pairs.vectors * torch.nan)
