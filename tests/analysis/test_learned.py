"""What training added, beside untrained networks: the share of the kernel along a feature."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from tangentlens.analysis.alignment import align
from tangentlens.analysis.features import read_features
from tangentlens.analysis.kernel_modes import KernelOptions, kernel_modes
from tangentlens.analysis.learned import difference, learned, share
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


def test_interval_and_p_are_student_s():
    found = difference(0.0, 5.0, [2.0, 3.0, 4.0], 0.5)
    between = 1.0 * (1 + 1 / 3)
    error = math.sqrt(0.25 + between)
    freedom = (0.25 + between) ** 2 / (between**2 / 2)
    assert found.untrained == 3
    assert found.p == pytest.approx(float(stats.t(freedom).sf(2 / error)))
    assert (found.high - found.low) / 2 == pytest.approx(float(stats.t(freedom).ppf(0.975)) * error)
    alone = difference(0.0, 5.0, [3.0], 0.5)
    assert alone.p == pytest.approx(float(stats.norm().sf(4)))
    assert difference(0.0, 3.0, [3.0], 0.0).p == 1.0


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
