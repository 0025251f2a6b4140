"""Outputs of the pilots' examples must come out again, finite, in every pass."""

import pytest
import torch

from tangentlens.errors import NumericalError, UnsupportedModelError
from tangentlens.kernels.tracing.witnesses import Witnesses

OUTPUTS = torch.arange(12.0, dtype=torch.float64).reshape(6, 2)
WITNESSES = Witnesses({1: OUTPUTS[1], 4: OUTPUTS[4]})


def test_equal_outputs_pass_in_any_piece():
    WITNESSES.check(OUTPUTS, 0)
    WITNESSES.check(OUTPUTS[3:], 3)
    WITNESSES.behind(3).check(OUTPUTS[3:], 0)


@pytest.mark.parametrize(("start", "row"), [(0, 1), (0, 4), (3, 4), (4, 4)])
def test_a_changed_output_names_the_example(start, row):
    changed = OUTPUTS.clone()
    changed[row, 1] += 1e-3
    with pytest.raises(UnsupportedModelError, match=f"example {row}"):
        WITNESSES.check(changed[start:], start)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_names_the_example(value):
    broken = OUTPUTS[2:].clone()
    broken[1, 0] = value
    with pytest.raises(NumericalError, match="example 3"):
        WITNESSES.check(broken, 2)
