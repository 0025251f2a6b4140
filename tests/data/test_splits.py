import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.data.splits import stratified_halves
from tangentlens.errors import InvalidInputError


def labels(seed, rows, columns=3):
    """Random labels, each with at least two windows of either kind."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(rows, columns, generator=generator) < torch.rand(columns, generator=generator)
    matrix[:2], matrix[2:4] = True, False
    return matrix


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), rows=st.integers(4, 200))
def test_halves_differ_by_at_most_one_window_and_one_positive(seed, rows):
    y = labels(seed, rows)
    train = stratified_halves(y, seed=seed)
    assert train.dtype == torch.bool
    assert train.shape == y.shape
    assert bool(((2 * train.sum(dim=0) - rows).abs() <= 1).all())
    assert bool((((train & y).sum(dim=0) - (~train & y).sum(dim=0)).abs() <= 1).all())


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_a_group_is_never_divided_and_the_halves_stay_near_each_other(seed):
    y = labels(seed, 160)
    groups = torch.randint(0, 60, (160,), generator=torch.Generator().manual_seed(seed))
    groups[:4] = torch.arange(4) + 100  # two groups with the label, two without
    train = stratified_halves(y, seed=seed, groups=groups)
    for group in groups.unique():
        inside = train[groups == group]
        assert bool((inside == inside[0]).all())
    largest = int(groups.unique(return_counts=True)[1].max())
    difference = ((train & y).sum(dim=0) - (~train & y).sum(dim=0)).abs()
    assert bool((difference <= largest).all())


def test_the_seed_decides_and_other_labels_do_not():
    y = labels(0, 50)
    train = stratified_halves(y, seed=7)
    assert torch.equal(train, stratified_halves(y, seed=7))
    assert torch.equal(train[:, 1:2], stratified_halves(y[:, 1:2], seed=7))
    assert not torch.equal(train, stratified_halves(y, seed=8))


def test_each_window_lands_in_the_train_half_half_of_the_time():
    y = labels(1, 20, columns=1)
    share = torch.stack([stratified_halves(y, seed=seed)[:, 0] for seed in range(400)]).double().mean(dim=0)
    assert bool(((share - 0.5).abs() < 5 * 0.5 / 20).all())  # five standard errors


def test_a_label_with_one_window_or_one_story_is_refused():
    y = torch.zeros(10, 2, dtype=torch.bool)
    y[:4, 0], y[0, 1] = True, True
    with pytest.raises(InvalidInputError, match="label 1"):
        stratified_halves(y, seed=0)
    with pytest.raises(InvalidInputError, match="label 0"):
        stratified_halves(y[:, :1], seed=0, groups=torch.tensor([0, 0, 0, 0, 1, 2, 3, 4, 5, 6]))


def test_no_labels_give_no_halves():
    assert stratified_halves(torch.zeros(5, 0, dtype=torch.bool), seed=0).shape == (5, 0)
