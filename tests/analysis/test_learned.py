"""What training added, beside untrained networks: the share of the kernel along a feature."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from tangentlens.analysis.alignment import align
from tangentlens.analysis.features import read_features
from tangentlens.analysis.kernel_modes import GroupModes, KernelOptions, kernel_modes
from tangentlens.analysis.learned import Untrained, gain_beyond_drawn, gain_beyond_random, learned, share
from tangentlens.analysis.subject import Split
from tangentlens.analysis.variants import own_start, reinitialised, untrained_models
from tests.analysis.test_used import planted


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


def test_the_p_of_a_random_function_is_uniform():
    g = torch.Generator().manual_seed(0)
    first, second = (torch.randn(60, 60, generator=g, dtype=torch.float64) for _ in range(2))
    initial, trained = modes_of(first @ first.T, 8), modes_of(second @ second.T, 8)
    rows = torch.arange(60)
    p = [
        gain_beyond_random(trained, initial, torch.randn(60, 1, generator=g, dtype=torch.float64), rows, g)[3]
        for _ in range(40)
    ]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_a_function_that_the_kernel_turned_to_has_gained():
    g = torch.Generator().manual_seed(1)
    first = torch.randn(80, 80, generator=g, dtype=torch.float64)
    f = torch.randn(80, 1, generator=g, dtype=torch.float64)
    f = (f - f.mean()) / f.norm()
    initial, trained = modes_of(first @ first.T, 8), modes_of(first @ first.T + 300 * f @ f.T, 8)
    gain, low, high, p = gain_beyond_random(trained, initial, f, torch.arange(80), g)
    assert low < gain < high
    assert p < 0.001


def test_one_network_among_others_is_student_s():
    g = torch.Generator().manual_seed(2)
    kernels = [torch.randn(40, 40, generator=g, dtype=torch.float64) for _ in range(5)]
    trained, *others = [modes_of(k @ k.T, 6) for k in kernels]
    F = torch.nn.functional.normalize(torch.randn(40, 1, generator=g, dtype=torch.float64), dim=0)
    F = torch.nn.functional.normalize(F - F.mean(), dim=0)
    H = torch.eye(40, dtype=torch.float64) - 1 / 40

    def ratio(modes, spans):
        M = H @ modes.vectors @ modes.values.diag() @ modes.vectors.T @ H
        inside = []
        for other in spans:
            P = torch.linalg.qr(H @ other.vectors).Q
            inside.append(math.log(float(torch.trace(P.T @ M @ P))))
        return math.log(float(F.T @ M @ F)) - sum(inside) / len(inside)

    y = [ratio(each, [other for other in others if other is not each]) for each in others]
    error = torch.tensor(y).std().item() * math.sqrt(1 + 1 / 4)
    gain, low, high, p = gain_beyond_drawn(trained, others, F, torch.arange(40))
    assert gain == pytest.approx(ratio(trained, others) - sum(y) / 4)
    assert p == pytest.approx(float(stats.t(3).sf(gain / error)), rel=1e-4)
    assert (high - low) / 2 == pytest.approx(float(stats.t(3).ppf(0.975)) * error, rel=1e-4)


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
        found = learned(rows, by_name, groups, Untrained(others, len(others) == 1), halves, g)
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
