import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.alignment.splits import balanced_half
from tangentlens.errors import InvalidInputError


def labels(seed, rows, columns=3):
    """Random labels, each with at least ten windows of either kind."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(rows, columns, generator=generator) < torch.rand(columns, generator=generator)
    matrix[:10], matrix[10:20] = True, False
    return matrix


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_a_group_is_never_divided_and_the_halves_stay_near_each_other(seed):
    y = labels(seed, 160)
    groups = torch.randint(0, 60, (160,), generator=torch.Generator().manual_seed(seed))
    train = balanced_half(y, seed=seed, groups=groups)
    for group in groups.unique():
        inside = train[groups == group]
        assert bool((inside == inside[0]).all())
    largest = int(groups.unique(return_counts=True)[1].max())
    difference = ((train[:, None] & y).sum(dim=0) - (~train[:, None] & y).sum(dim=0)).abs()
    assert bool((difference <= 2 * largest).all())
    assert abs(2 * int(train.sum()) - 160) <= 2 * largest


def test_the_seed_decides():
    y, alone = labels(0, 50), torch.arange(50)
    train = balanced_half(y, seed=7, groups=alone)
    assert torch.equal(train, balanced_half(y, seed=7, groups=alone))
    assert not torch.equal(train, balanced_half(y, seed=8, groups=alone))


def test_a_label_of_one_window_or_one_story_is_refused():
    y = torch.zeros(10, 2, dtype=torch.bool)
    y[:4, 0], y[0, 1] = True, True
    with pytest.raises(InvalidInputError, match="label 1"):
        balanced_half(y, seed=0, groups=torch.arange(10))
    with pytest.raises(InvalidInputError, match="label 0"):
        balanced_half(y[:, :1], seed=0, groups=torch.tensor([0, 0, 0, 0, 1, 2, 3, 4, 5, 6]))
