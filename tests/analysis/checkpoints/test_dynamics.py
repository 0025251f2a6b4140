import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tangentlens.analysis.checkpoints.dynamics import central_differences, crossing, peak, transition
from tangentlens.errors import InvalidInputError, NumericalError

EPOCHS = torch.arange(0, 201, 10)


def sigmoid(centre: float, epochs: Tensor = EPOCHS) -> Tensor:
    return torch.sigmoid((epochs.double() - centre) / 15)


@settings(deadline=None)
@given(at=st.floats(1.0, 199.0))
def test_crossing_of_a_straight_line_is_exact(at: float) -> None:
    assert crossing(EPOCHS, 0.5 + (EPOCHS.double() - at) / 1000, 0.5) == pytest.approx(at)


def test_first_crossing_counts_and_a_late_dip_does_not() -> None:
    accuracy = torch.tensor([0.0, 0.2, 0.6, 0.4, 0.9])
    assert crossing(torch.arange(5), accuracy, 0.5) == pytest.approx(1.75)


def test_curves_that_never_cross_or_start_above() -> None:
    assert math.isnan(crossing(EPOCHS, torch.zeros(21), 0.5))
    assert crossing(EPOCHS, torch.ones(21), 0.5) == 0.0


@settings(deadline=None)
@given(centre=st.floats(40.0, 160.0))
def test_peak_of_growth_is_found_between_the_measurements(centre: float) -> None:
    found = transition(EPOCHS, sigmoid(centre + 8), sigmoid(centre))
    assert found.peak == pytest.approx(centre, abs=0.5)
    assert found.onset == pytest.approx(centre + 8, abs=0.5)
    assert found.onset_minus_peak == pytest.approx(8, abs=1)


@settings(deadline=None)
@given(vertex=st.floats(1.0, 9.0), step=st.floats(0.5, 3.0))
def test_peak_of_a_parabola_is_exact_on_uneven_grids_too(vertex: float, step: float) -> None:
    epochs = torch.tensor([-6.0, 0.0, step, 5.0, 5.0 + step, 10.0, 16.0], dtype=torch.float64)
    assert peak(epochs, 3 - (epochs - vertex).square()) == pytest.approx(vertex)


def test_growth_without_a_peak_inside_has_none() -> None:
    assert math.isnan(peak(EPOCHS, EPOCHS))
    assert math.isnan(peak(EPOCHS, -EPOCHS))
    assert math.isnan(transition(EPOCHS[:2], torch.zeros(2), torch.zeros(2)).peak)
    assert math.isnan(transition(EPOCHS, torch.zeros(21), sigmoid(100)).onset_minus_peak)


def test_a_flat_top_is_taken_where_it_starts() -> None:
    assert peak(torch.arange(5), torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0])) == pytest.approx(1.5)


@settings(deadline=None)
@given(a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_central_differences_are_exact_for_parabolas(a: float, b: float) -> None:
    x = torch.tensor([0.0, 1.0, 2.5, 4.0, 7.0], dtype=torch.float64)
    derivative = central_differences(x, a * x.square() + b * x)
    assert torch.allclose(derivative[1:-1], 2 * a * x[1:-1] + b, atol=1e-9)


@pytest.mark.parametrize(
    ("epochs", "values"),
    [
        (torch.arange(3), torch.zeros(4)),
        (torch.tensor([0, 2, 2]), torch.zeros(3)),
        (torch.zeros(0), torch.zeros(0)),
        (torch.zeros(2, 2), torch.zeros(2, 2)),
    ],
)
def test_what_is_no_curve_is_refused(epochs: Tensor, values: Tensor) -> None:
    with pytest.raises(InvalidInputError):
        crossing(epochs, values, 0.5)


def test_nan_is_refused() -> None:
    with pytest.raises(NumericalError):
        peak(torch.arange(3), torch.tensor([0.0, float("nan"), 1.0]))
