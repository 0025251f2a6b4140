from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.language.windows.sampling import allocation, sample, strata

sizes = st.lists(st.integers(0, 30), min_size=1, max_size=6)


@given(sizes, st.integers(0, 100))
def test_an_allocation_is_proportional_to_less_than_one(sizes, count):
    taken = allocation(sizes, count)
    assert sum(taken) == min(count, sum(sizes))
    assert all(0 <= each <= size for each, size in zip(taken, sizes, strict=True))
    if count < sum(sizes):
        assert all(abs(t - count * s / sum(sizes)) < 1 for t, s in zip(taken, sizes, strict=True))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=40), st.integers(1, 30), st.integers(0, 9)
)
def test_in_a_stratum_each_group_gives_one_before_any_gives_a_second(items, count, seed):
    of, groups = [one for one, _ in items], [group for _, group in items]
    found = sample(of, groups, count, np.random.default_rng(seed))
    assert found == sorted(set(found))
    assert found == sample(of, groups, count, np.random.default_rng(seed))
    assert len(found) == min(count, len(items))
    taken, there = Counter(items[place] for place in found), Counter(items)
    for stratum in set(of):
        counts = {group: taken[stratum, group] for name, group in there if name == stratum}
        spare = [counts[group] for group in counts if counts[group] < there[stratum, group]]
        assert not spare or max(counts.values()) <= min(spare) + 1


def test_every_item_is_as_likely_as_another():
    drawn = Counter(
        place for seed in range(2000) for place in sample("a" * 6, range(6), 2, np.random.default_rng(seed))
    )
    assert all(abs(drawn[place] - 2000 / 3) < 5 * (2000 * 2 / 9) ** 0.5 for place in range(6))


def test_strata_are_classes_or_quarters_of_numbers():
    assert strata(["a", None, ("b", "c")]) == ("a", None, ("b", "c"))
    assert strata([True, False, None]) == (True, False, None)
    assert strata([1, 2, 2]) == (1, 2, 2)
    quarters = strata([None, *(row / 3 for row in range(40))])
    assert quarters[0] is None
    assert Counter(quarters[1:]) == {0: 10, 1: 10, 2: 10, 3: 10}
