import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.alignment.overlap import centred_basis, subspace_overlap
from tangentlens.alignment.rotation import M_AXIS, N_AXIS, dominant_wave, rotate_by_frequency
from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.features.fourier import Wave, fourier_family, superpose


def mixed(p: int, names: tuple[str, ...], seed: int, noise: float = 0.0) -> Tensor:
    """An arbitrary orthonormal basis of the families' span, with some of everything else."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.cat([centred_basis(fourier_family(name, p).matrix) for name in names], dim=1)
    d = basis.shape[1]
    turned = basis @ torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    leak = noise * torch.randn(p * p, d, generator=generator, dtype=torch.float64) / p
    return torch.linalg.qr(turned + leak).Q


@settings(deadline=None, max_examples=25)
@given(
    p=st.sampled_from([5, 7, 11]), names=st.sampled_from([("n", "m"), ("sum", "difference")]), seed=st.integers(0, 99)
)
def test_every_mode_becomes_one_wave(p: int, names: tuple[str, str], seed: int) -> None:
    modes = mixed(p, names, seed)
    rotated = rotate_by_frequency(modes, p)
    assert float(rotated.purity.min()) > 1 - 1e-6
    assert torch.equal(rotated.frequency, torch.arange(1, p // 2 + 1).repeat_interleave(4))
    for k in range(1, p // 2 + 1):
        own = rotated.vectors[:, rotated.frequency == k]
        both = torch.cat([fourier_family(name, p).at(k) for name in names], dim=1)
        assert subspace_overlap(own, both).percent == pytest.approx(100)


def test_sum_and_difference_waves_come_apart() -> None:
    rotated = rotate_by_frequency(mixed(7, ("sum", "difference"), seed=0), 7)
    assert sorted(map(tuple, rotated.wavenumbers.tolist())) == sorted(
        2 * [(k, s * k) for k in (1, 2, 3) for s in (-1, 1)]
    )


def test_two_axes_alone_separate_frequencies_only() -> None:
    rotated = rotate_by_frequency(mixed(7, ("sum", "difference"), seed=0), 7, directions=(N_AXIS, M_AXIS))
    assert torch.equal(rotated.frequency, torch.arange(1, 4).repeat_interleave(4))
    assert float(rotated.purity.min()) < 0.9


def test_span_is_kept_and_the_vectors_stay_orthonormal() -> None:
    modes = mixed(7, ("sum", "difference"), seed=1, noise=0.3)
    rotated = rotate_by_frequency(modes, 7).vectors
    assert torch.allclose(rotated.T @ rotated, torch.eye(12, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(rotated @ rotated.T, modes @ modes.T, atol=1e-10)


def test_a_leaky_cliff_is_still_separated() -> None:
    rotated = rotate_by_frequency(mixed(11, ("n", "m"), seed=2, noise=0.1), 11)
    assert torch.equal(rotated.frequency, torch.arange(1, 6).repeat_interleave(4))
    assert float(rotated.purity.min()) > 0.9


@settings(deadline=None)
@given(p=st.integers(3, 12), a=st.integers(0, 11), b=st.integers(-11, 11))
def test_dominant_wave_names_a_pure_wave_and_its_mirror_alike(p: int, a: int, b: int) -> None:
    if (a % p, b % p) == (0, 0):
        return
    waves = torch.cat([superpose("w", (Wave(s * a, s * b),), p, [1]).matrix[:, :1] for s in (1, -1)], dim=1)
    found, share = dominant_wave(waves, p)
    assert torch.equal(found[0], found[1])
    assert share.tolist() == pytest.approx([1, 1])
    alpha, beta = found[0].tolist()
    assert 0 <= 2 * alpha <= p
    assert -p < 2 * beta <= p
    assert ((alpha - a) % p, (beta - b) % p) == (0, 0) or ((alpha + a) % p, (beta + b) % p) == (0, 0)


def test_wrong_rows_and_slanted_modes_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="49 rows"):
        rotate_by_frequency(torch.ones(48, 1), 7)
    with pytest.raises(InvalidInputError, match="orthonormal"):
        rotate_by_frequency(torch.ones(49, 1), 7)


def test_modes_of_any_kind_are_rotated_and_those_with_nan_are_refused() -> None:
    modes = mixed(5, ("sum",), seed=0)
    expected = rotate_by_frequency(modes, 5).frequency
    assert torch.equal(rotate_by_frequency(modes.numpy(), 5).frequency, expected)
    with pytest.raises(NumericalError, match="NaN or infinity"):
        rotate_by_frequency(modes * torch.nan, 5)
