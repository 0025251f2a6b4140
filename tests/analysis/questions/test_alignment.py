"""Scores, intervals and p-values equal plain loops and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score

from tangentlens.alignment.overlap import subspace_overlap
from tangentlens.analysis.arguments.features import read_features
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.analysis.questions.alignment import align
from tangentlens.analysis.questions.resampling import bootstrap_weights, jackknife_spread
from tangentlens.analysis.questions.scoring import choose, held_out, resampled
from tangentlens.analysis.subject import Split


def some_modes(N=60, k=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    vectors = torch.linalg.qr(torch.randn(N, k, generator=g, dtype=torch.float64)).Q
    values = torch.arange(k, 0, -1, dtype=torch.float64)
    return GroupModes("total", values, vectors, torch.zeros(k, dtype=torch.float64), k, float(values.sum()))


def some_halves(N=60):
    return Split(torch.arange(0, N, 2), torch.arange(1, N, 2))


def some_features(modes, seed=1):
    g = torch.Generator().manual_seed(seed)
    noise = 0.05 * torch.randn(len(modes.vectors), 3, generator=g, dtype=torch.float64)
    return read_features(
        {
            "mask": modes.vectors[:, 2] + noise[:, 0] > 0,
            "real": -modes.vectors[:, 4] + noise[:, 1],
            "space": torch.stack([modes.vectors[:, 1], modes.vectors[:, 3] + noise[:, 2]], dim=1),
        },
        len(modes.vectors),
    ).features


def plain_score(modes, feature, halves, values=None):
    """Choose on one half, score on the other, one mode and one sign after another."""
    values = feature.values[:, 0].numpy() if values is None else values
    vectors = modes.vectors.numpy()
    train = halves.train[feature.present[halves.train]].numpy()
    test = halves.test[feature.present[halves.test]].numpy()
    best = None
    for mode in range(vectors.shape[1]):
        for sign in (1, -1):
            column = sign * vectors[:, mode]
            if feature.kind == "binary":
                quality = roc_auc_score(values[train], column[train])
                score = roc_auc_score(values[test], column[test])
                statistic = score
            else:
                quality = np.corrcoef(values[train], column[train])[0, 1]
                slope, intercept = np.polyfit(column[train], values[train], 1)
                score = r2_score(values[test], intercept + slope * column[test])
                statistic = np.corrcoef(values[test], column[test])[0, 1]
            if best is None or quality > best[0]:
                best = (quality, mode, sign, score, statistic)
    return best


@pytest.mark.parametrize("place", [0, 1])
def test_the_choice_and_the_held_out_score_are_those_of_a_plain_loop(place):
    modes, halves = some_modes(), some_halves()
    feature = some_features(modes)[place]
    choice = choose(modes.vectors, feature, halves)
    _, mode, sign, score, _ = plain_score(modes, feature, halves)
    assert (choice.mode, choice.sign) == (mode, sign)
    assert held_out(modes.vectors, feature, choice, halves) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("place", [0, 1])
def test_a_resample_is_the_score_of_the_repeated_inputs(place):
    modes, halves = some_modes(), some_halves()
    feature = some_features(modes)[place]
    choice = choose(modes.vectors, feature, halves)
    weights = bootstrap_weights(len(halves.test), 3, torch.Generator().manual_seed(0))
    for found, weight in zip(resampled(modes.vectors, feature, choice, halves, weights), weights, strict=True):
        rows = halves.test.repeat_interleave(weight.long())
        target, column = feature.values[rows, 0].numpy(), modes.vectors[rows, choice.mode].numpy()
        if feature.kind == "binary":
            exact = roc_auc_score(target, choice.sign * column)
        else:
            exact = r2_score(target, choice.line[0] + choice.line[1] * column)
        assert float(found) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("name", ["mask", "real"])
def test_p_is_that_of_a_plain_loop_over_permutations(name):
    modes, halves = some_modes(N=24, k=3), some_halves(24)
    g = torch.Generator().manual_seed(5)
    values = torch.rand(24, generator=g, dtype=torch.float64) + 0.3 * modes.vectors[:, 0]
    feature = read_features({name: values > values.median() if name == "mask" else values}, 24).features[0]
    (row,) = align({"total": modes}, [feature], halves, permutations=1500, resamples=20, generator=g)
    own = plain_score(modes, feature, halves)[4]
    rng, reached = np.random.default_rng(0), 0
    for _ in range(600):
        permuted = feature.values[:, 0].numpy().copy()
        for rows in (halves.train.numpy(), halves.test.numpy()):
            permuted[rows] = permuted[rng.permutation(rows)]
        reached += plain_score(modes, feature, halves, permuted)[4] >= own - 1e-12
    assert row.p == pytest.approx(reached / 600, abs=4 * (0.25 / 600) ** 0.5)


def test_p_of_a_space_is_that_of_a_plain_loop():
    modes, halves = some_modes(N=30, k=4), some_halves(30)
    g = torch.Generator().manual_seed(2)
    space = torch.randn(30, 2, generator=g, dtype=torch.float64) + 2 * modes.vectors[:, :1]
    (row,) = align({"total": modes}, read_features({"s": space}, 30).features, halves,
                   permutations=2000, resamples=20, generator=g)  # fmt: skip
    assert row.score == pytest.approx(subspace_overlap(modes.vectors, space).percent)
    reached = sum(
        subspace_overlap(modes.vectors, space[torch.randperm(30, generator=g)]).percent >= row.score for _ in range(500)
    )
    assert row.p == pytest.approx(reached / 500, abs=4 * (0.25 / 500) ** 0.5)
    assert row.low < row.score < row.high


def test_p_of_noise_is_uniform():
    halves, g = some_halves(), torch.Generator().manual_seed(0)
    modes = some_modes()
    features = [
        read_features({"x": torch.rand(60, generator=g) > 0.5 if i % 2 else torch.rand(60, generator=g)}, 60).features[
            0
        ]
        for i in range(160)
    ]
    rows = align({"total": modes}, features, halves, permutations=199, resamples=20, generator=g)
    p = np.array([row.p for row in rows])
    for level in (0.05, 0.25, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * (level * (1 - level) / len(p)) ** 0.5)


def test_missing_values_and_several_groups_keep_their_places():
    modes, halves = some_modes(), some_halves()
    other = some_modes(seed=3)
    mask = torch.where(torch.arange(60) < 8, float("nan"), (modes.vectors[:, 2] > 0).double())
    feature = read_features({"mask": mask}, 60).features[0]
    groups = {"total": modes, "other": other}
    rows = align(groups, [feature], halves, permutations=99, resamples=20, generator=torch.Generator().manual_seed(0))
    for row in rows:
        _, mode, sign, score, _ = plain_score(groups[row.group], feature, halves)
        assert (row.choice.mode, row.choice.sign) == (mode, sign)
        assert row.score == pytest.approx(score, abs=1e-12)
        assert row.low <= row.score <= row.high


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = jackknife_spread(
        lambda rows: float(values[rows].mean()), torch.arange(400), torch.Generator().manual_seed(1)
    )
    assert found == pytest.approx(float(values.std() / 20), rel=0.5)
