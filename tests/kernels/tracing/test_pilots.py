"""Pilot batches overlap, agree on their common examples, and expose examples that influence each other."""

import pytest
import torch
from torch import nn

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.layouts import Layout
from tangentlens.kernels.tracing.pilots import layouts_of, pilot_rows, run_pilots
from tangentlens.models.functional import functional_model

X = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Model(nn.Module):
    def __init__(self, between=torch.tanh) -> None:
        super().__init__()
        self.first, self.second = (nn.Linear(3, 3, dtype=torch.float64) for _ in range(2))
        self._between = between

    def forward(self, x):
        return self.second(self._between(self.first(x)))


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5, 30])
def test_rows_are_in_the_batch_and_two_are_in_both_pilots(total):
    more, few = pilot_rows(total)
    assert (len(more), len(few)) == (4, 3)
    assert set(more) | set(few) <= set(range(total))
    assert set(few[1:]) <= set(more)
    assert total < 5 or few[0] not in more


def test_pilots_of_a_plain_model():
    pilots = run_pilots(functional_model(Model()), X, 2**30)
    assert pilots.axes == (0, 0, 0, 0)  # weights and biases
    assert layouts_of(pilots) == (Layout(0),) * 4
    assert pilots.pairs == ((2, 1), (0, 2))
    outputs = pilots.more.recording.output, pilots.few.recording.output
    for here, there in pilots.pairs:
        torch.testing.assert_close(outputs[0][here], outputs[1][there])
        for large, small in zip(pilots.more.gradients, pilots.few.gradients, strict=True):
            torch.testing.assert_close(large[here], small[there])  # the same cotangent for the same example
    assert set(pilots.witnesses.outputs) == {*pilots.more.rows, *pilots.few.rows}
    assert pilots.bytes_per_example == 8 * (3 + 3 + 3 + 3)  # a copy of the inputs, and three results


@pytest.mark.parametrize(
    "between",
    [lambda y: y - y.mean(0), lambda y: y.cumsum(0), lambda y: y + (y - y.detach()).sum(0)],
    ids=["mean", "sum", "gradient alone"],
)
def test_influence_between_examples_is_refused(between):
    with pytest.raises(UnsupportedModelError):
        layouts_of(run_pilots(functional_model(Model(between)), X, 2**30))


def test_other_outputs_at_the_second_call_are_refused():
    noisy = Model(lambda y: y + torch.rand(()))
    with torch.random.fork_rng(), pytest.raises(UnsupportedModelError):
        run_pilots(functional_model(noisy), X, 2**30)
