"""Sparse unit inputs: their law, row by row."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.paper.superposition.data import sparse_inputs


def drawn(examples: int, features: int, sparsity: float, seed: int = 0) -> torch.Tensor:
    return sparse_inputs(examples, features, sparsity, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(examples=st.integers(1, 40), features=st.integers(1, 20), sparsity=st.floats(0, 0.95), seed=st.integers(0, 99))
def test_every_row_has_length_one_and_no_negative_entry(examples, features, sparsity, seed):
    x = drawn(examples, features, sparsity, seed)
    assert x.shape == (examples, features)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(examples))
    assert bool((x >= 0).all())


@pytest.mark.parametrize(("features", "sparsity"), [(50, 0.3), (50, 0.9), (2, 0.9)])
def test_features_are_absent_as_often_as_stated_given_that_a_row_is_not_empty(features, sparsity):
    examples = 4000
    present = float((drawn(examples, features, sparsity) > 0).double().mean())
    expected = (1 - sparsity) / (1 - sparsity**features)  # empty rows are drawn again
    assert present == pytest.approx(expected, abs=5 * math.sqrt(0.25 / examples / features) * (1 + features**0.5))


def test_present_values_are_uniform_before_the_rows_are_scaled():
    x = drawn(20_000, 2, 0.0)
    ratio = x.min(dim=1).values / x.max(dim=1).values  # of two uniform variables: uniform
    quantiles = ratio.quantile(torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.5, 0.9]), rtol=0, atol=0.02)


def test_the_generator_alone_decides_the_data():
    state = torch.random.get_rng_state()
    assert torch.equal(drawn(20, 5, 0.9, 1), drawn(20, 5, 0.9, 1))
    assert not torch.equal(drawn(20, 5, 0.9, 1), drawn(20, 5, 0.9, 2))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("arguments", [(0, 5, 0.5), (5, 0, 0.5), (5, 5, 1.0), (5, 5, -0.1), (5, 5, math.nan)])
def test_impossible_data_are_refused(arguments):
    with pytest.raises(InvalidInputError):
        drawn(*arguments)
