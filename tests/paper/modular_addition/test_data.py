import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.paper.modular_addition.data import (
    all_pairs,
    labels,
    one_hot_inputs,
    one_hot_targets,
    token_inputs,
    train_test_split,
)


@settings(deadline=None)
@given(p=st.integers(2, 31))
def test_row_of_a_pair_is_n_times_p_plus_m(p: int) -> None:
    pairs = all_pairs(p)
    assert pairs.shape == (p * p, 2)
    assert torch.equal(pairs[:, 0] * p + pairs[:, 1], torch.arange(p * p))


@settings(deadline=None)
@given(p=st.integers(2, 31))
def test_every_encoding_holds_the_same_pairs(p: int) -> None:
    pairs, tokens, hot = all_pairs(p), token_inputs(p), one_hot_inputs(p)
    assert torch.equal(tokens[:, :2], pairs)
    assert torch.equal(tokens[:, 2], torch.full((p * p,), p))
    assert torch.equal(torch.stack([hot[:, :p].argmax(dim=1), hot[:, p:].argmax(dim=1)], dim=1), pairs)
    assert torch.equal(hot.sum(dim=1), torch.full((p * p,), 2.0))


@settings(deadline=None)
@given(p=st.integers(2, 31))
def test_labels_are_sums_modulo_p_and_balanced(p: int) -> None:
    assert torch.equal(labels(p), (all_pairs(p)[:, 0] + all_pairs(p)[:, 1]).remainder(p))
    assert torch.equal(labels(p).bincount(minlength=p), torch.full((p,), p))
    assert torch.equal(one_hot_targets(p).argmax(dim=1), labels(p))


@settings(deadline=None)
@given(rows=st.integers(2, 900), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**31))
def test_split_is_a_partition_that_the_seed_decides(rows: int, fraction: float, seed: int) -> None:
    count = int(fraction * rows)
    if count == 0:
        with pytest.raises(InvalidInputError, match="leaves 0 of"):
            train_test_split(rows, fraction, torch.Generator().manual_seed(seed))
        return
    split, again = (train_test_split(rows, fraction, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert len(split.train) == count
    assert torch.equal(torch.cat([split.train, split.test]).sort().values, torch.arange(rows))
    assert torch.equal(split.train, again.train)
    assert torch.equal(split.test, again.test)


def test_split_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    train_test_split(100, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bad_arguments_name_the_remedy() -> None:
    with pytest.raises(InvalidInputError, match="at least 2"):
        labels(1)
    with pytest.raises(InvalidInputError, match="train_fraction"):
        train_test_split(10, 1.0, torch.Generator())
