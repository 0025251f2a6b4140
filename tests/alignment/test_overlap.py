from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, orthonormal_basis, overlap_of_bases, subspace_overlap
from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.features.fourier import fourier_family
from tangentlens.operators import DenseOperator

SEEDS = st.integers(0, 2**31)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(seed=SEEDS, d=st.integers(1, 6), K=st.integers(1, 6))
def test_depends_on_the_two_spans_alone(seed: int, d: int, K: int) -> None:
    V, F = normal(20, d, seed=seed), normal(20, K, seed=seed + 1)
    plain = subspace_overlap(V, F)
    mixed = subspace_overlap(V @ normal(d, d, seed=seed + 2), 3 * (F @ normal(K, K, seed=seed + 3)) + 7)
    assert mixed.rank == plain.rank == K
    assert mixed.overlap == pytest.approx(plain.overlap, abs=1e-6)
    assert torch.allclose(mixed.singular_values, plain.singular_values, atol=1e-4)


@settings(deadline=None)
@given(seed=SEEDS, d=st.integers(1, 6), K=st.integers(1, 6))
def test_is_the_energy_of_the_features_inside_the_modes(seed: int, d: int, K: int) -> None:
    V, F = normal(20, d, seed=seed), normal(20, K, seed=seed + 1)
    found = subspace_overlap(V, F)
    onto_modes = V @ torch.linalg.pinv(V)
    centred = F - F.mean(dim=0)
    onto_features = centred @ torch.linalg.pinv(centred)
    assert found.overlap == pytest.approx(float((onto_modes @ onto_features).trace()), abs=1e-9)
    assert found.percent == pytest.approx(100 * found.overlap / K)
    assert bool((found.singular_values.diff() <= 0).all())
    assert float(found.singular_values.max()) <= 1 + 1e-12


def test_features_in_their_own_span_overlap_wholly_and_elsewhere_not_at_all() -> None:
    sums, differences = fourier_family("sum", 11).matrix, fourier_family("difference", 11).matrix
    assert subspace_overlap(sums, sums).percent == pytest.approx(100)
    assert subspace_overlap(sums, differences).percent == pytest.approx(0, abs=1e-12)


def test_part_of_the_space_counts_as_its_share() -> None:
    family = fourier_family("sum", 29)
    found = subspace_overlap(family.matrix[:, :7], family.matrix)
    assert found.percent == pytest.approx(25)
    assert found.singular_values.shape == (7,)


def test_random_modes_overlap_by_their_share_of_the_dimensions() -> None:
    features = fourier_family("sum", 11).matrix
    percents = [subspace_overlap(normal(121, 30, seed=seed), features).percent for seed in range(40)]
    assert sum(percents) / len(percents) == pytest.approx(100 * 30 / 121, abs=1.5)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_rank_ignores_repeats_constants_zeros_and_scale(scale: float) -> None:
    F = normal(30, 2, seed=0)
    awkward = torch.cat([F, F.sum(dim=1, keepdim=True), torch.full((30, 1), 0.1), torch.zeros(30, 1), F * scale], dim=1)
    assert subspace_overlap(normal(30, 4, seed=1), awkward).rank == 2


def test_constant_features_leave_nothing_to_overlap_with() -> None:
    found = subspace_overlap(normal(30, 4, seed=1), torch.full((30, 2), 0.3))
    assert found.rank == 0
    assert found.overlap == 0
    assert found.percent != found.percent  # NaN


def test_fewer_directions_than_columns_are_not_counted_twice() -> None:
    V, F = normal(30, 4, seed=1), normal(30, 3, seed=2)
    repeated = subspace_overlap(torch.cat([V, V[:, :2]], dim=1), F)
    assert repeated.overlap == pytest.approx(subspace_overlap(V, F).overlap)


def test_bases_at_hand_give_the_same_record() -> None:
    V, F = normal(30, 4, seed=1), normal(30, 3, seed=2)
    whole, short = subspace_overlap(V, F), overlap_of_bases(orthonormal_basis(V), centred_basis(F))
    assert torch.equal(whole.singular_values, short.singular_values)


def test_indicators_and_single_precision_are_taken() -> None:
    found = subspace_overlap(normal(30, 4, seed=1).float(), torch.arange(30)[:, None] % 2 == 0)
    assert found.rank == 1
    assert found.singular_values.dtype == torch.float64


def linear_kernel(n: int = 90, dtype: torch.dtype = torch.float32) -> DenseOperator:
    """The kernel of a linear layer: its rank is the number of inputs and the bias, 5."""
    X = torch.cat([normal(n, 4, seed=3), torch.ones(n, 1, dtype=torch.float64)], dim=1).to(dtype)
    return DenseOperator(X @ X.T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_eigenpairs_beyond_the_rank_do_not_count(dtype: torch.dtype, method: str, caplog) -> None:
    op, features = linear_kernel(dtype=dtype), normal(90, 3, seed=9)
    pairs = top_eigenpairs(op, 30, 1e-3, method=method)
    found = subspace_overlap(pairs, features)
    true = subspace_overlap(top_eigenpairs(op, 5, 1e-3, method=method).vectors, features)
    assert pairs.rank == found.modes == 5
    assert found.percent == pytest.approx(true.percent, abs=1e-3)
    assert found.percent < subspace_overlap(pairs.vectors, features).percent / 2
    assert "uses 5 of 30 eigenpairs" in caplog.text
    assert "max_products" not in caplog.text


def test_pairs_that_did_not_converge_do_not_count() -> None:
    pairs = top_eigenpairs(linear_kernel(dtype=torch.float64), 4)
    spoiled = replace(pairs, converged=torch.tensor([True, False, True, True]))
    found = subspace_overlap(spoiled, normal(90, 3, seed=9))
    assert found.modes == 3
    assert found.overlap == pytest.approx(subspace_overlap(pairs.vectors[:, [0, 2, 3]], normal(90, 3, seed=9)).overlap)


def test_eigenpairs_without_a_mode_are_refused() -> None:
    pairs = top_eigenpairs(linear_kernel(dtype=torch.float64), 4)
    with pytest.raises(NumericalError, match="none of the 4 eigenpairs"):
        subspace_overlap(replace(pairs, converged=torch.zeros(4, dtype=torch.bool)), normal(90, 3, seed=9))


def test_arrays_of_every_kind_give_the_same_overlap() -> None:
    V, F = normal(20, 4, seed=1), normal(20, 2, seed=2)
    expected = subspace_overlap(V, F).overlap
    for vectors, features in ((V.numpy(), F.numpy()), (V.tolist(), F.tolist()), (V, F.numpy()), (list(V), F)):
        assert subspace_overlap(vectors, features).overlap == pytest.approx(expected)


def test_columns_that_depend_on_others_to_their_own_precision_count_once() -> None:
    F = normal(200, 3, seed=4).float()
    dependent = torch.cat([F, (F[:, :1] + F[:, 1:2]) / 3, F.sum(dim=1, keepdim=True)], dim=1)
    assert subspace_overlap(normal(200, 4, seed=1), dependent).rank == 3
    assert subspace_overlap(dependent, normal(200, 4, seed=1)).modes == 3


@pytest.mark.parametrize(
    ("vectors", "features", "match"),
    [
        (torch.ones(5), torch.ones(5, 1), "vectors"),
        (torch.ones(5, 0), torch.ones(5, 1), "vectors"),
        (torch.ones(5, 1), torch.ones(0, 1), "features"),
        (torch.ones(5, 1), torch.ones(6, 1), "5 rows and the features 6"),
        (torch.ones(5, 1, dtype=torch.complex64), torch.ones(5, 1), "complex64"),
    ],
)
def test_bad_shapes_are_refused(vectors: Tensor, features: Tensor, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        subspace_overlap(vectors, features)


def test_nan_is_named_by_its_column() -> None:
    features = torch.ones(5, 3)
    features[2, 1] = float("nan")
    with pytest.raises(NumericalError, match="features, column 1"):
        subspace_overlap(torch.ones(5, 1), features)
