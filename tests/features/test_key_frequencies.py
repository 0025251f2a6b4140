"""Key frequencies: planted ones are found, nothing is found in noise, and the null is calibrated."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.features.fourier import fourier_family
from tangentlens.features.key_frequencies import embedding_frequencies, kernel_frequencies, modes_holding


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def planted_embedding(p: int, d: int, frequencies: set[int], level: float, seed: int) -> Tensor:
    """Waves of the given frequencies with random phases and amplitudes across the columns, in noise."""
    angle = 2 * math.pi * torch.arange(p, dtype=torch.float64)[:, None] / p
    waves = [torch.cos(k * angle + noise(1, d, seed=seed + k) * 9) for k in frequencies]
    return torch.stack(waves).sum(dim=0) + level * noise(p, d, seed=seed)


def test_a_pure_wave_is_its_own_frequency():
    found = embedding_frequencies(planted_embedding(29, 4, {5}, 0.0, seed=0), generator=generator(0))
    assert found.frequencies == (5,)
    assert float(found.share[4]) == pytest.approx(1.0)
    assert found.p_value == pytest.approx(0.001)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), p=st.sampled_from([17, 24, 29]), seed=st.integers(0, 999))
def test_planted_frequencies_are_found_in_noise(data, p, seed):
    planted = data.draw(st.sets(st.integers(1, p // 2), min_size=1, max_size=p // 4))
    W = planted_embedding(p, 32, planted, 0.3, seed)
    found = embedding_frequencies(W, generator=generator(seed), permutations=99)
    assert found.frequencies == tuple(sorted(planted))
    assert found.log_gap > 1.0


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), shift=st.integers(0, 28), factor=st.floats(1e-3, 1e3))
def test_a_shift_of_the_tokens_a_rotation_and_a_scale_change_nothing(seed, shift, factor):
    W = planted_embedding(29, 8, {3, 11}, 0.5, seed)
    rotation = torch.linalg.qr(noise(8, 8, seed=seed)).Q
    moved = factor * W.roll(shift, dims=0) @ rotation + 5.0
    one, other = (embedding_frequencies(x, generator=generator(1), permutations=99) for x in (W, moved))
    assert one.frequencies == other.frequencies
    torch.testing.assert_close(one.share, other.share)


def test_multiplying_the_tokens_multiplies_the_frequencies():
    p, W = 29, planted_embedding(29, 16, {3, 11}, 0.2, seed=4)
    found = embedding_frequencies(W[torch.arange(p) * 2 % p], generator=generator(0), permutations=99)
    assert found.frequencies == (6, 7)  # 2 * 3, and 2 * 11 = 22, the wave of 29 - 22


def test_in_noise_the_p_value_is_uniform_and_nothing_is_found():
    results = [
        embedding_frequencies(noise(29, 16, seed=s), generator=generator(s), permutations=99) for s in range(150)
    ]
    p_values = torch.tensor([result.p_value for result in results])
    for level in (0.05, 0.2, 0.5, 0.8):
        error = 4 * math.sqrt(level * (1 - level) / len(results))
        assert float((p_values <= level).double().mean()) == pytest.approx(level, abs=error)
    found = sum(bool(result.frequencies) for result in results)
    assert found <= 8  # expected 1.5; P(Poisson(1.5) > 8) = 3e-5


def test_a_constant_embedding_has_no_frequency():
    result = embedding_frequencies(torch.zeros(29, 4), generator=generator(0))
    assert (result.frequencies, result.p_value) == ((), 1.0)


def test_waves_of_the_sum_are_found_among_mixed_modes():
    p = 13
    waves = fourier_family("sum", p, [2, 5]).matrix
    modes = torch.cat([torch.ones(p * p, 1).double(), waves], dim=1) @ noise(5, 5, seed=1)  # one space, no mode pure
    result = kernel_frequencies(modes, p)
    assert result.frequencies == (2, 5)
    torch.testing.assert_close(result.captured[[1, 4]], torch.ones(2, 2).double())
    assert float(result.captured[[0, 2, 3, 5]].max()) < 1e-12


def test_one_phase_of_a_wave_is_enough_and_is_shown_as_such():
    p = 11
    result = kernel_frequencies(fourier_family("sum", p, [4]).matrix @ torch.tensor([[0.6], [0.8]]).double(), p)
    assert result.frequencies == (4,)
    torch.testing.assert_close(result.captured[3], torch.tensor([1.0, 0.0]).double())


@pytest.mark.parametrize("family", ["n", "m", "difference", "2n"])
def test_other_families_are_not_taken_for_sums(family):
    assert kernel_frequencies(fourier_family(family, 13).matrix, 13).frequencies == ()


def test_random_modes_hold_no_wave():
    p = 29
    result = kernel_frequencies(noise(p * p, 2 * p), p)
    assert result.frequencies == ()
    assert float(result.captured.mean()) == pytest.approx(2 * p / p**2, rel=0.3)


@settings(max_examples=15, deadline=None)
@given(planted=st.sets(st.integers(1, 8), min_size=1, max_size=4), level=st.floats(0.0, 0.02), seed=st.integers(0, 99))
def test_planted_waves_are_found_in_noisy_modes(planted, level, seed):
    p = 17
    waves = fourier_family("sum", p, planted).matrix / p
    modes = waves + level * noise(*waves.shape, seed=seed)  # waves have length about 0.7, the noise at most 0.34
    assert kernel_frequencies(modes, p).frequencies == tuple(sorted(planted))


def test_the_middle_frequency_of_an_even_modulus_has_one_phase():
    p = 8
    result = kernel_frequencies(fourier_family("sum", p, [4]).matrix[:, :1], p)
    assert result.frequencies == (4,)
    torch.testing.assert_close(result.captured[3], torch.tensor([1.0, 0.0]).double())


def test_fewest_modes_that_hold_the_share():
    values = torch.tensor([5.0, 3.0, 1.0, 1.0])
    assert [modes_holding(values, trace=10.0, share=s) for s in (0.3, 0.5, 0.51, 0.8, 0.9, 1.0)] == [1, 1, 2, 2, 3, 4]
    with pytest.raises(InvalidInputError, match=r"hold 0\.5"):
        modes_holding(values, trace=20.0, share=0.9)


@pytest.mark.parametrize(("share", "trace"), [(0.0, 1.0), (1.1, 1.0), (0.5, 0.0), (0.5, math.nan)])
def test_impossible_shares_are_refused(share, trace):
    with pytest.raises(InvalidInputError):
        modes_holding(torch.ones(2), trace=trace, share=share)


@pytest.mark.parametrize(
    ("embedding", "options"),
    [(torch.ones(3, 4), {}), (torch.ones(9), {}), (torch.ones(9, 0), {}), (torch.ones(9, 4), {"permutations": 50})],
)
def test_unusable_embeddings_are_refused(embedding, options):
    with pytest.raises(InvalidInputError):
        embedding_frequencies(embedding, generator=generator(0), **options)


def test_unusable_modes_are_refused():
    for modes, p, threshold in ((torch.ones(10, 2), 3, 0.5), (torch.ones(9, 10), 3, 0.5), (torch.ones(9, 2), 3, 1.0)):
        with pytest.raises(InvalidInputError):
            kernel_frequencies(modes, p, threshold=threshold)


def test_not_a_number_is_named():
    W = torch.full((29, 4), math.nan)
    with pytest.raises(NumericalError, match="embedding"):
        embedding_frequencies(W, generator=generator(0))
    with pytest.raises(NumericalError, match="modes"):
        kernel_frequencies(torch.full((9, 2), math.inf), 3)
