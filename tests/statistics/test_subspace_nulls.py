import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, subspace_overlap
from tangentlens.errors import InvalidInputError
from tangentlens.statistics.permutation import p_of_draws
from tangentlens.statistics.subspace_nulls import (
    random_feature_overlaps,
    random_feature_spaces,
    random_overlap_mean,
    random_overlaps,
    spectrum_weighted_overlaps,
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def overlap_std(d: int, r: int, m: int) -> float:
    """Standard deviation of a random overlap, from the second moments of a random projection P.

    E[P_11^2] = d (d + 2) / (m (m + 2)), and the covariance of two diagonal entries follows from the constant trace.
    """
    return math.sqrt(2 * d * r * (m - d) * (m - r) / (m**2 * (m - 1) * (m + 2)))


def plain_overlaps(n: int, d: int, features: Tensor, draws: int, centred: bool) -> Tensor:
    """Overlaps of spans of Gaussian columns, the record of `subspace_overlap` one by one."""
    columns = [normal(n, d, seed=seed) for seed in range(draws)]
    return torch.tensor([subspace_overlap(c - c.mean(dim=0) if centred else c, features).overlap for c in columns])


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("d", "r"), [(3, 4), (6, 2), (9, 7), (2, 11), (11, 11)])
def test_sampled_mean_and_spread_are_those_of_real_random_subspaces(d: int, r: int, centred: bool) -> None:
    n, draws = 13, 400
    features = normal(n, r, seed=10**6)
    m = n - 1 if centred else n
    plain = plain_overlaps(n, d, features, draws, centred)
    sampled = random_overlaps(d, r, m, draws=draws, generator=torch.Generator().manual_seed(0))
    mean, std = random_overlap_mean(d, r, m), overlap_std(d, r, m)
    for found in (plain.double(), sampled):
        assert float(found.mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(draws))
        assert float(found.std()) == pytest.approx(std, rel=0.15)
    assert stats.ks_2samp(plain.numpy(), sampled.numpy()).pvalue > 0.01


@pytest.mark.parametrize("centred", [False, True])
def test_the_chance_level_has_one_dimension_less_where_the_modes_are_centred_not_where_the_features_are(centred):
    """E = d r / N for modes anywhere in R^N, d r / (N - 1) for centred ones; the features are centred in both."""
    n, d, r, draws = 9, 4, 5, 600
    found = plain_overlaps(n, d, normal(n, r, seed=10**6), draws, centred).double()
    error = 4 * float(found.std()) / math.sqrt(draws)
    right, wrong = (d * r / (n - 1), d * r / n) if centred else (d * r / n, d * r / (n - 1))
    assert float(found.mean()) == pytest.approx(right, abs=error)
    assert abs(float(found.mean()) - wrong) > error


def test_the_whole_space_and_the_empty_one_are_certain() -> None:
    generator = torch.Generator().manual_seed(0)
    assert random_overlaps(5, 3, 5, draws=4, generator=generator).tolist() == pytest.approx([3] * 4)
    assert random_overlaps(0, 3, 5, draws=4, generator=generator).tolist() == [0] * 4
    assert overlap_std(5, 3, 5) == 0


def test_a_flat_spectrum_gives_the_uniform_null() -> None:
    n, d, r = 15, 4, 3
    features = centred_basis(normal(n, r, seed=0))
    weighted = spectrum_weighted_overlaps(
        torch.full((n,), 3.0), torch.eye(n), features, d, draws=400, generator=torch.Generator().manual_seed(1)
    )
    uniform = random_overlaps(d, r, n, draws=500, generator=torch.Generator().manual_seed(2))
    assert stats.ks_2samp(weighted.numpy(), uniform.numpy()).pvalue > 0.01


def test_a_spectrum_that_ends_at_d_gives_the_leading_space() -> None:
    V, _ = torch.linalg.qr(normal(15, 4, seed=0))
    features = normal(15, 3, seed=1)
    weighted = spectrum_weighted_overlaps(
        torch.tensor([9.0, 4.0, 2.0, 1.0]), V, centred_basis(features), 4, draws=5, generator=torch.Generator()
    )
    assert weighted.tolist() == pytest.approx([subspace_overlap(V, features).overlap] * 5)


def test_random_directions_of_a_kernel_are_samples_of_its_gaussian_process() -> None:
    n, d = 12, 3
    V, _ = torch.linalg.qr(normal(n, n, seed=0))
    values = torch.logspace(0, -3, n, dtype=torch.float64)
    features = normal(n, 2, seed=1)
    generator = torch.Generator().manual_seed(3)
    root = V * values.sqrt() @ V.T
    plain = torch.tensor([subspace_overlap(root @ normal(n, d, seed=s), features).overlap for s in range(300)])
    weighted = spectrum_weighted_overlaps(values, V, centred_basis(features), d, draws=500, generator=generator)
    assert stats.ks_2samp(plain.numpy(), weighted.numpy()).pvalue > 0.01


def test_p_values_of_random_subspaces_are_uniform() -> None:
    null = random_overlaps(5, 4, 40, draws=999, generator=torch.Generator().manual_seed(0))
    features = normal(40, 4, seed=10**6)
    p = p_of_draws(null[:, None], plain_overlaps(40, 5, features, 200, centred=False).double())
    assert stats.kstest(p.numpy(), "uniform").pvalue > 0.01


def test_bad_input_is_refused() -> None:
    generator = torch.Generator()
    for d, r, m in ((-1, 1, 3), (4, 1, 3), (1, 4, 3), (0, 0, 0)):
        with pytest.raises(InvalidInputError, match="subspaces"):
            random_overlaps(d, r, m, draws=1, generator=generator)
        with pytest.raises(InvalidInputError, match="subspaces"):
            random_overlap_mean(d, r, m)
    with pytest.raises(InvalidInputError, match="draws=0"):
        random_overlaps(1, 1, 3, draws=0, generator=generator)
    V = torch.eye(4)
    for values, vectors, features, d, match in (
        (torch.ones(3), V, V, 1, "do not fit"),
        (torch.ones(4), 2 * V, V, 1, "vectors"),
        (torch.ones(4), V, 2 * V, 1, "features"),
        (-torch.ones(4), V, V, 1, "4 negative"),
        (torch.tensor([1.0, 1.0, 0.0, 0.0]), V, V, 3, "d = 3 directions of 2"),
        (torch.ones(4), V, V, 0, "d = 0"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            spectrum_weighted_overlaps(values, vectors, features, d, draws=1, generator=generator)


def test_random_feature_spaces_overlap_as_much_as_their_dimension_lets_them():
    spaces = random_feature_spaces(30, 4, 200, torch.Generator().manual_seed(2))
    modes = torch.linalg.qr(torch.randn(30, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    centred = torch.linalg.qr(modes - modes.mean(dim=0)).Q
    found = random_feature_overlaps(centred, spaces)
    one = 100 * (centred.T @ spaces[7]).square().sum() / 4
    torch.testing.assert_close(found[7], one)
    assert abs(float(found.mean()) - 100 * 5 / 29) < 2
