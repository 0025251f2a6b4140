import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.features.fourier import FAMILIES, Wave, fourier_family, superpose


@settings(deadline=None)
@given(p=st.integers(2, 24), name=st.sampled_from(sorted(FAMILIES)), data=st.data())
def test_entry_is_the_cosine_or_sine_of_its_pair(p: int, name: str, data: st.DataObject) -> None:
    k, n, m = (data.draw(st.integers(low, high)) for low, high in ((1, p // 2), (0, p - 1), (0, p - 1)))
    phase = {"n": n, "m": m, "sum": n + m, "difference": n - m, "2n": 2 * n, "2m": 2 * m}[name]
    row = fourier_family(name, p).at(k)[n * p + m]
    angle = 2 * math.pi * k * phase / p
    assert row.tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-9)


@settings(deadline=None)
@given(p=st.integers(1, 14).map(lambda h: 2 * h + 1), name=st.sampled_from(sorted(FAMILIES)))
def test_at_odd_p_the_columns_are_orthogonal_with_mean_zero(p: int, name: str) -> None:
    matrix = fourier_family(name, p).matrix
    assert matrix.dtype == torch.float64
    assert matrix.shape == (p * p, 2 * (p // 2))
    assert float(matrix.mean(dim=0).abs().max()) < 1e-12
    assert torch.allclose(matrix.T @ matrix, torch.eye(matrix.shape[1], dtype=torch.float64) * p * p / 2, atol=1e-9)


@settings(deadline=None)
@given(p=st.integers(2, 9).map(lambda h: 2 * h + 1))
def test_single_axis_sum_and_difference_waves_are_orthogonal_to_each_other(p: int) -> None:
    blocks = [fourier_family(name, p).matrix for name in ("n", "m", "sum", "difference")]
    together = torch.cat(blocks, dim=1)
    assert torch.allclose(
        together.T @ together, torch.eye(together.shape[1], dtype=torch.float64) * p * p / 2, atol=1e-9
    )


def test_at_half_the_modulus_the_sine_is_exactly_zero_but_for_rounding() -> None:
    assert float(fourier_family("n", 6).at(3)[:, 1].abs().max()) < 1e-12


def test_given_frequencies_are_sorted_once_and_select_columns() -> None:
    family = fourier_family("sum", 11, frequencies=[4, 2, 4])
    assert family.frequencies == (2, 4)
    assert torch.equal(family.matrix, torch.cat([fourier_family("sum", 11).at(k) for k in (2, 4)], dim=1))


@pytest.mark.parametrize(("sign", "name"), [(1.0, "axis-sum"), (-1.0, "axis-difference")])
def test_a_family_of_two_waves_adds_them(sign: float, name: str) -> None:
    family = superpose(name, (Wave(1, 0), Wave(0, 1, sign)), 7)
    expected = fourier_family("n", 7).matrix + sign * fourier_family("m", 7).matrix
    assert torch.allclose(family.matrix, expected)


@settings(deadline=None)
@given(p=st.integers(3, 17), shift=st.integers(-3, 3))
def test_forms_that_agree_modulo_p_are_the_same_family(p: int, shift: int) -> None:
    first = superpose("a", (Wave(1, -1),), p)
    second = superpose("b", (Wave(1 + shift * p, -1 - shift * p),), p)
    assert torch.equal(first.matrix, second.matrix)


def test_bad_arguments_name_the_choice() -> None:
    with pytest.raises(InvalidInputError, match="difference"):
        fourier_family("product", 7)
    with pytest.raises(InvalidInputError, match=r"1\.\.3"):
        fourier_family("sum", 7, frequencies=[4])
    with pytest.raises(InvalidInputError, match="It holds"):
        fourier_family("sum", 7, frequencies=[2]).at(1)
    with pytest.raises(InvalidInputError, match="wave"):
        superpose("empty", (), 7)
