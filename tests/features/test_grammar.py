from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.features.grammar import (
    Labels,
    morphology_labels,
    pos_labels,
    pos_twins,
    repetitions,
    select_labels,
)


def labels(**columns):
    return Labels(tuple(columns), torch.tensor(list(columns.values()), dtype=torch.bool).T)


def test_parts_of_speech_are_one_hot_in_the_order_asked_for():
    found = pos_labels(["NOUN", "VERB", "NOUN"], ["VERB", "NOUN", "ADJ"])
    assert found.matrix.tolist() == [[False, True, False], [True, False, False], [False, True, False]]
    assert pos_labels(["NOUN", "VERB", "NOUN"]).names == ("NOUN", "VERB")
    assert pos_labels([], ["NOUN"]).matrix.shape == (0, 1)


def test_every_feature_and_value_that_occurs_is_a_column():
    found = morphology_labels([{"Number": "Sing"}, {}, {"Number": "Plur", "PronType": "Int,Rel"}])
    assert found.names == ("Number=Plur", "Number=Sing", "PronType=Int", "PronType=Rel")
    assert found.matrix.tolist() == [[False, True, False, False], [False] * 4, [True, False, True, True]]
    assert morphology_labels([{}, {}]).matrix.shape == (2, 0)


def words_with(counts):
    return [f"w{place}" for place, count in enumerate(counts) for _ in range(count)]


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ([15] + [3] * 5, None),  # 30 windows, the first word exactly half: allowed
        ([16] + [3] * 5, "'w0' is 16 of 31"),
        ([3] * 9 + [2], "29 windows, fewer than 30"),
        ([8] * 5, "5 different words, fewer than 6"),
    ],
)
def test_the_three_rules_at_their_edges(counts, reason):
    words = words_with(counts)
    found = select_labels(labels(all=[True] * len(words)), words, distinct=6)
    assert found.labels.names == (("all",) if reason is None else ())
    assert found.labels.matrix.shape == (len(words), 1 if reason is None else 0)
    assert list(found.refused) == ([] if reason is None else ["all"])
    assert reason is None or reason in found.refused["all"]


def test_case_does_not_make_another_word_and_thresholds_are_the_papers():
    words = ["The", "the", "THE"] * 10 + [f"w{place}" for place in range(11)]
    every = labels(all=[True] * len(words))
    assert "12 different" not in str(select_labels(every, words).refused)
    assert "'the' is 30 of 41" in select_labels(every, words).refused["all"]
    assert select_labels(every, words, largest_share=0.8).labels.names == ("all",)
    assert "12 different words, fewer than 13" in select_labels(every, words, distinct=13).refused["all"]


def test_words_and_rows_must_agree():
    with pytest.raises(InvalidInputError, match="2 words for 3 rows"):
        select_labels(labels(a=[True, True, False]), ["x", "y"])


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40),
    st.floats(0.05, 1.0),
)
def test_repetitions_and_twins_are_what_sets_say(rows, threshold):
    matrix = torch.tensor(rows)
    found = Labels(("a", "b", "c"), matrix)
    sets = {name: set(found.column(name).nonzero().flatten().tolist()) for name in found.names}
    expected = {
        (x, y): len(sets[x] & sets[y]) / len(sets[x] | sets[y])
        for x, y in (("a", "b"), ("a", "c"), ("b", "c"))
        if sets[x] | sets[y] and len(sets[x] & sets[y]) / len(sets[x] | sets[y]) >= threshold
    }
    assert {(one.first, one.second): one.jaccard for one in repetitions(found, threshold)} == pytest.approx(expected)
    twins = {(one.label, one.pos): (one.purity, one.coverage) for one in pos_twins(found, found, threshold)}
    for (x, rows_x), (y, rows_y) in product(sets.items(), sets.items()):
        both = len(rows_x & rows_y)
        near = bool(rows_x and rows_y) and min(both / len(rows_x), both / len(rows_y)) >= threshold
        assert ((x, y) in twins) == near
        assert not near or twins[x, y] == pytest.approx((both / len(rows_x), both / len(rows_y)))


def test_columns_are_found_by_name():
    found = labels(a=[True, False], b=[True, True])
    assert found.restrict(["b", "a"]).matrix.tolist() == [[True, True], [True, False]]
    with pytest.raises(InvalidInputError, match="no label 'c'"):
        found.column("c")
