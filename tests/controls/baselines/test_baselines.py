"""Each baseline against its definition, written as a plain loop in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tangentlens.alignment.overlap import centred_basis, overlap_of_bases
from tangentlens.controls.baselines.activations import activation_pca, best_layer, conjugate_functions
from tangentlens.controls.baselines.gradients import gradient_functions, output_gradients
from tangentlens.controls.baselines.leaderboard import Task, leaderboard
from tangentlens.controls.baselines.loss_kernel import cross_entropies, loss_kernel_functions, squared_errors
from tangentlens.controls.baselines.probe import probe_percent
from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import InvalidInputError
from tangentlens.features.functions import random_functions
from tangentlens.kernels import entk
from tangentlens.models.sites import entering, input_site, leaving
from tangentlens.paper.training import cross_entropy, mean_squared_error

N = 30


@pytest.fixture
def random():
    return torch.Generator().manual_seed(2)


@pytest.fixture
def net(random):
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7, generator=random)
    return model


@pytest.fixture
def x(random):
    return torch.randn(N, 5, generator=random, dtype=torch.float64)


@pytest.fixture
def labels():
    return torch.arange(N) % 3


def span_distance(a, b):
    """Sine of the largest principal angle between two spans."""
    return math.sqrt(max(0.0, 1 - float(torch.linalg.svdvals(torch.linalg.qr(a).Q.T @ torch.linalg.qr(b).Q)[-1]) ** 2))


def test_gradients_of_a_site_are_those_of_single_examples(net, x):
    site = leaving(net, x, "0")
    found = output_gradients(site)
    for i in (0, 7):
        z = site.values[i : i + 1].clone().requires_grad_()
        for c in range(3):
            (expected,) = torch.autograd.grad(net[2](torch.tanh(z))[0, c], z)
            torch.testing.assert_close(found[c, i], expected[0])


def test_gradient_pca_projects_on_the_leading_gradient_directions(net, x):
    site = input_site(net, x)
    G = sum(torch.outer(g, g) for g in output_gradients(site).flatten(0, 1)) / N
    leading = torch.linalg.eigh(G)[1][:, -2:]
    assert span_distance(gradient_functions(site, 2), (x - x.mean(dim=0)) @ leading) < 1e-7


def test_directions_that_outputs_do_not_answer_to_are_left_out(x):
    linear = nn.Linear(5, 2).double()
    assert gradient_functions(input_site(linear, x), 5).shape == (N, 2)


def test_the_loss_kernel_is_made_of_gradients_of_single_losses(net, x, labels):
    rows = []
    for i in range(N):
        loss = cross_entropies(net(x[i : i + 1]), labels[i : i + 1])[0]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]))
    J = torch.stack(rows)
    expected = torch.linalg.eigh(J @ J.T)[1][:, -4:]
    assert span_distance(loss_kernel_functions(net, x, labels, cross_entropies, 4), expected) < 1e-6
    assert all(p.grad is None for p in net.parameters())


def test_losses_of_single_examples_average_to_the_loss(net, x, labels):
    outputs = net(x).detach()
    assert float(cross_entropies(outputs, labels).mean()) == pytest.approx(float(cross_entropy(outputs, labels)))
    assert float(squared_errors(outputs, labels).mean()) == pytest.approx(float(mean_squared_error(outputs, labels)))


def test_the_conjugate_kernel_is_not_centred(net, x):
    A = entering(net, x, "2").values
    expected = torch.linalg.eigh(A @ A.T)[1][:, -3:]
    assert span_distance(conjugate_functions(A, 3), expected) < 1e-6


def test_the_train_rows_pick_the_layer(random):
    features = random_functions(N, 2, random)
    train = torch.arange(0, N, 2)
    good = torch.cat([features, random_functions(N, 1, random)], dim=1)
    assert best_layer({"poor": random_functions(N, 3, random), "good": good}, features, train) == "good"
    cheating = random_functions(N, 3, random)
    cheating[1::2, :2] = features[1::2]  # holds the features on the other rows alone
    assert best_layer({"cheating": cheating, "good": good}, features, train) == "good"


def test_the_probe_predicts_rows_it_has_not_seen(random):
    X = torch.randn(200, 4, generator=random)
    features = X[:, :2].double() @ torch.randn(2, 3, generator=random, dtype=torch.float64)
    train, test = torch.arange(100), torch.arange(100, 200)
    assert probe_percent(X, features, train, test) == pytest.approx(100, abs=1e-3)
    noise = torch.randn(200, 3, generator=random, dtype=torch.float64)
    assert probe_percent(X, noise, train, test) < 10


def test_one_call_gives_one_leaderboard(net, x, labels, random):
    layers = {"inputs": input_site(net, x), "hidden": entering(net, x, "2")}
    F = centred_basis(layers["hidden"].values[:, :2])
    task = Task(net, x, labels, cross_entropies, layers, "hidden", {"f": F}, torch.arange(15), torch.arange(15, N))
    modes = random_functions(N, 4, random)
    rows = {row.method: row for row in leaderboard(task, modes, seconds=1.5, generator=random)}
    assert set(rows) == {
        "entk", "conjugate_kernel", "loss_kernel", "gradient_pca.inputs", "gradient_pca.hidden", "pca.inputs",
        "pca.hidden", "random", "pca.best_layer", "supervised_probe",
    }  # fmt: skip
    assert rows["entk"].percents["f"] == pytest.approx(overlap_of_bases(modes, F).percent)
    assert (rows["entk"].seconds, rows["entk"].dimension) == (1.5, 4)
    assert rows["pca.hidden"].percents["f"] == pytest.approx(
        overlap_of_bases(activation_pca(layers, 4)["hidden"], F).percent
    )
    assert "hidden" in rows["pca.best_layer"].aside
    assert rows["supervised_probe"].percents["f"] == pytest.approx(100, abs=0.1)
    assert all(row.dimension <= 4 for row in rows.values() if row.method != "supervised_probe")
    assert np.isfinite([row.seconds for row in rows.values()]).all()


class ByName(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, a, b):
        return {"logits": self.net(torch.cat([a, b], dim=1))}


def test_inputs_by_name_give_the_same_loss_kernel(net, x, labels):
    plain = loss_kernel_functions(net, x, labels, cross_entropies, 4)
    named = loss_kernel_functions(ByName(net), {"a": x[:, :2], "b": x[:, 2:]}, labels, cross_entropies, 4)
    assert span_distance(plain, named) < 1e-6


@pytest.fixture
def task(net, x, labels):
    layers = {"inputs": input_site(net, x), "hidden": entering(net, x, "2")}
    F = centred_basis(layers["hidden"].values[:, :2])
    return Task(net, x, labels, cross_entropies, layers, "hidden", {"f": F}, torch.arange(15), torch.arange(15, N))


def test_a_leaderboard_takes_inputs_by_name_eigenpairs_and_arrays(net, x, task, random):
    inputs = {"a": x[:, :2], "b": x[:, 2:]}
    model = ByName(net)
    named = replace(task, model=model, inputs=inputs, layers={"hidden": entering(model, inputs, "net.2")})
    pairs = top_eigenpairs(entk(net, x).total, 4)
    rows = {row.method: row for row in leaderboard(named, pairs, seconds=1.0, generator=random)}
    assert rows["entk"].dimension == 4
    from_array = leaderboard(task, pairs.vectors.numpy(), seconds=1.0, generator=random)[0]
    assert from_array.percents["f"] == pytest.approx(rows["entk"].percents["f"])


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"labels": torch.arange(N - 1) % 3}, "labels"),
        ({"families": {"f": torch.ones(N + 1, 2).double()}}, r"families\['f'\]"),
        ({"families": {"f": torch.ones(N).double()}}, r"families\['f'\]"),
        ({"last": "nowhere"}, "inputs, hidden"),
        ({"inputs": torch.zeros(N - 3, 5).double()}, "modes"),
        ({"example_loss": nn.functional.cross_entropy}, "reduction='none'"),
    ],
)
def test_a_task_that_does_not_fit_says_where(task, random, changed, where):
    for name, value in changed.items():
        object.__setattr__(task, name, value)  # users' own tasks are not checked when they are made
    with pytest.raises(InvalidInputError, match=where):
        leaderboard(task, random_functions(N, 4, random), seconds=1.0, generator=random)


def test_outputs_of_three_axes_are_refused_in_their_own_words(net, x, labels):
    class Pictures(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)[:, :, None].expand(-1, -1, 4)

    with pytest.raises(InvalidInputError, match="shape"):
        loss_kernel_functions(Pictures(), x, labels, cross_entropies, 2)
