"""What training added, beside untrained networks: how well the kernel predicts a feature."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import RidgeCV
from torch import nn

from tangentlens.analysis.arguments.features import read_features
from tangentlens.analysis.arguments.variants import own_start, reinitialised, untrained_models
from tangentlens.analysis.modes.kernel_modes import GroupModes, KernelOptions, kernel_modes
from tangentlens.analysis.questions.alignment import align
from tangentlens.analysis.questions.learned import beyond, beyond_drawn, learned, prediction_errors, share
from tangentlens.analysis.subject import Split
from tests.analysis.questions.test_used import planted


def test_the_share_is_the_alignment_of_the_kernel_of_the_modes():
    model, X, _, features = planted(N=40)
    modes = kernel_modes(model, X, KernelOptions(8), check=False).groups["total"]
    feature = read_features(features, 40).features[0]
    kernel = modes.vectors @ modes.values.diag() @ modes.vectors.T
    H = torch.eye(40, dtype=torch.float64) - 1 / 40
    f = H @ feature.values[:, 0]
    f = f / f.norm()
    exact = 100 * float(f @ H @ kernel @ H @ f / torch.trace(H @ kernel @ H))
    assert share(modes, feature.values, torch.arange(40)) == pytest.approx(exact)


def modes_of(kernel, k):
    values, vectors = torch.linalg.eigh(kernel)
    return GroupModes("total", values.flip(0)[:k], vectors.flip(1)[:, :k], torch.zeros(k), k, float(kernel.trace()))


def feature_of(column):
    return read_features({"f": column}, len(column)).features[0]


def test_predictions_are_ridge_regression_with_the_ridge_of_least_leave_one_out_error():
    g = torch.Generator().manual_seed(4)
    kernel = torch.randn(60, 60, generator=g, dtype=torch.float64)
    modes = modes_of(kernel @ kernel.T, 7)
    f = modes.vectors[:, 0] + 0.3 * torch.randn(60, generator=g, dtype=torch.float64)
    folds = torch.randperm(60, generator=g).tensor_split(4)
    X = (modes.vectors * modes.values.sqrt()).numpy()
    exact = []
    for rows in folds:
        fit = [i for i in range(60) if i not in set(rows.tolist())]
        scale = ((X[fit] - X[fit].mean(0)) ** 2).sum() / len(fit)
        found = RidgeCV(alphas=scale * np.logspace(-4, 4, 17)).fit(X[fit], f[fit].numpy())
        exact.append(f[rows] - torch.from_numpy(found.predict(X[rows.numpy()])))
    errors = torch.cat(exact).square() / f.var(correction=0)
    assert torch.allclose(prediction_errors(modes, feature_of(f), folds), errors, rtol=1e-8)


def test_one_network_against_its_start_is_a_paired_t_test():
    g = torch.Generator().manual_seed(5)
    errors, others = torch.rand(50, generator=g, dtype=torch.float64), torch.rand(50, generator=g, dtype=torch.float64)
    exact = stats.ttest_rel(others.numpy(), errors.numpy(), alternative="greater")
    low, high, p = beyond(errors, others)
    assert p == pytest.approx(exact.pvalue)
    both = stats.ttest_rel(others.numpy(), errors.numpy()).confidence_interval(0.95)
    assert (low, high) == pytest.approx((both.low, both.high))


def test_a_function_without_a_relation_is_not_learned_more_often_than_the_level():
    g = torch.Generator().manual_seed(0)
    halves, held = Split(torch.arange(0, 100, 2), torch.arange(1, 100, 2)), 0
    for _ in range(60):
        first, second = (modes_of(m @ m.T, 8) for m in torch.randn(2, 100, 100, generator=g, dtype=torch.float64))
        feature = feature_of(torch.randn(100, generator=g, dtype=torch.float64))
        rows = align({"total": second}, [feature], halves, permutations=9, resamples=5, generator=g)
        (found,) = learned(rows, {"f": feature}, {"total": second}, [{"total": first}], halves, g)
        held += found.p < 0.05
    assert stats.binomtest(held, 60, 0.05, alternative="greater").pvalue > 1e-3


def test_a_function_that_the_kernel_turned_to_is_learned():
    g = torch.Generator().manual_seed(1)
    first = torch.randn(80, 80, generator=g, dtype=torch.float64)
    f = torch.randn(80, generator=g, dtype=torch.float64)
    unit = (f - f.mean()) / (f - f.mean()).norm()
    initial = modes_of(first @ first.T, 8)
    trained = modes_of(first @ first.T + 300 * torch.outer(unit, unit), 8)
    feature, halves = feature_of(f), Split(torch.arange(0, 80, 2), torch.arange(1, 80, 2))
    rows = align({"total": trained}, [feature], halves, permutations=9, resamples=5, generator=g)
    (found,) = learned(rows, {"f": feature}, {"total": trained}, [{"total": initial}], halves, g)
    assert found.p < 1e-4
    assert found.low < found.predicted - found.predicted_untrained < found.high
    assert found.low > 0


def test_one_network_among_others_is_student_s():
    others = torch.tensor([0.5, 0.6, 0.45, 0.55], dtype=torch.float64)
    error = others.std().item() * math.sqrt(1 + 1 / 4)
    low, high, p = beyond_drawn(0.2, others)
    assert p == pytest.approx(float(stats.t(3).sf((others.mean().item() - 0.2) / error)))
    assert (high - low) / 2 == pytest.approx(float(stats.t(3).ppf(0.975)) * error)


def test_an_untrained_network_has_learned_nothing():
    _, X, _, features = planted()
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))
    read = read_features(features, len(X)).features
    halves = Split(torch.arange(0, len(X), 2), torch.arange(1, len(X), 2))
    options, g = KernelOptions(10), torch.Generator().manual_seed(0)
    groups = kernel_modes(model, X, options, check=False).groups
    rows = align(groups, read, halves, permutations=99, resamples=20, generator=g)
    by_name = {each.name: each for each in read}
    for given in (model.state_dict(), reinitialised(model, 100).state_dict(), None):
        others = [kernel_modes(m, X, options, check=False).groups for m in untrained_models(model, given, 6, 1)]
        found = learned(rows, by_name, groups, others, halves, g)
        assert all(each.p > 0.01 for each in found)


def test_the_own_start_of_training_is_recognised():
    _, X, y, _ = planted()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimiser.step()
    assert len(list(untrained_models(model, start, 6, 0))) == 1
    other = reinitialised(model, 5)
    assert not own_start(model, other)
    assert len(list(untrained_models(model, other.state_dict(), 6, 0))) == 7
