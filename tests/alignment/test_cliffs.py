import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.alignment.cliffs import Cliff, find_cliffs, matches_paper, paper_blocks
from tangentlens.errors import InvalidInputError, NumericalError


def spectrum(gaps: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.float64), -gaps.cumsum(dim=0)]).exp()


def exponential(count: int, mean: float, seed: int) -> Tensor:
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return -mean * torch.log1p(-uniform)


def positions(values: Tensor, **options: float) -> list[int]:
    return [cliff.last_mode for cliff in find_cliffs(values, **options)]


def test_spectra_without_structure_show_a_cliff_no_more_often_than_the_level() -> None:
    false = sum(bool(find_cliffs(spectrum(exponential(200, 0.01, seed)), level=0.05)) for seed in range(400))
    assert false <= 0.05 * 400 + 3 * math.sqrt(0.05 * 0.95 * 400)


def test_probability_of_a_gap_is_the_one_claimed() -> None:
    """P-values of single gaps, Bonferroni undone, are uniform: the F(2, 2 w) of the rule."""
    found = []
    for seed in range(2000):
        gaps = exponential(33, 1e-3, seed)
        cliffs = find_cliffs(spectrum(gaps), level=0.999, noise_floor=1e-9)
        found.append(next((cliff.p_value / 33 for cliff in cliffs if cliff.last_mode == 16), 1.0))
    share = sum(p <= 0.02 for p in found) / len(found)
    assert share == pytest.approx(0.02, abs=3 * math.sqrt(0.02 * 0.98 / 2000))


@settings(deadline=None)
@given(at=st.integers(0, 98), seed=st.integers(0, 2**31))
def test_a_planted_cliff_is_found_where_it_is(at: int, seed: int) -> None:
    gaps = exponential(99, 0.01, seed)
    gaps[at] = 1.0
    assert at in positions(spectrum(gaps))


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-30, 1e30))
def test_scale_of_the_kernel_changes_nothing(seed: int, scale: float) -> None:
    gaps = exponential(60, 0.02, seed)
    gaps[20] = 1.5
    assert positions(spectrum(gaps)) == positions(spectrum(gaps) * scale)


def test_rounding_below_the_floor_is_never_a_cliff_but_the_end_of_the_rank_is() -> None:
    noise = torch.tensor([3e-9, 1e-11, 1e-11, 2e-14, -1e-12, -5e-9], dtype=torch.float64)
    values = torch.cat([torch.linspace(1, 0.5, 40, dtype=torch.float64), noise])
    (cliff,) = find_cliffs(values)
    assert cliff.last_mode == 39
    assert cliff.log_gap == pytest.approx(math.log(0.5 / 1e-6))


def test_a_smooth_decay_through_the_floor_has_no_cliff() -> None:
    assert positions(spectrum(torch.full((100,), 0.3, dtype=torch.float64))) == []


def test_exactly_equal_values_are_no_cliff_and_their_end_is() -> None:
    assert positions(torch.tensor([2.0] * 20 + [1.0] * 20)) == [19]
    assert positions(torch.ones(30)) == []


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.5], [1.0, 1e-9, 1e-12]])
def test_too_few_values_give_no_cliff(values: list[float]) -> None:
    assert find_cliffs(torch.tensor(values)) == ()


def test_the_papers_blocks_and_what_matches_them() -> None:
    first, second = paper_blocks(29)
    assert (first[0], first[-1], len(first), second[0], second[-1]) == (1, 56, 56, 57, 112)

    def cliffs(*modes: int) -> list[Cliff]:
        return [Cliff(mode, 1.0, 0.001) for mode in modes]

    assert matches_paper(cliffs(0, 56, 112, 140), 29)
    assert matches_paper(cliffs(56, 112), 29)
    assert not matches_paper(cliffs(0, 56), 29)
    assert not matches_paper(cliffs(0, 20, 56, 112), 29)


@pytest.mark.parametrize(
    ("values", "options", "error"),
    [
        (torch.tensor([1.0, 2.0]), {}, InvalidInputError),
        (torch.tensor([0.0, -1.0]), {}, InvalidInputError),
        (torch.ones(3, 3), {}, InvalidInputError),
        (torch.ones(0), {}, InvalidInputError),
        (torch.ones(3), {"level": 0.0}, InvalidInputError),
        (torch.ones(3), {"noise_floor": 1.0}, InvalidInputError),
        (torch.tensor([1.0, float("nan")]), {}, NumericalError),
    ],
)
def test_bad_spectra_are_refused(values: Tensor, options: dict[str, float], error: type[Exception]) -> None:
    with pytest.raises(error):
        find_cliffs(values, **options)
