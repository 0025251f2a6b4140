"""Whatever a user has of every input becomes features of three kinds."""

import numpy as np
import pytest
import torch

from tangentlens.analysis.arguments.features import MOST_CLASSES, read_features
from tangentlens.errors import InvalidInputError


def kinds(features, N):
    return {each.name: each.kind for each in read_features(features, N).features}


def test_labels_numbers_and_spaces_are_told_apart_by_what_they_hold():
    N = 40
    g = np.random.default_rng(0)
    found = kinds(
        {
            "mask": torch.arange(N) % 2 == 0,
            "zero or one": np.arange(N) % 2,
            "class": np.arange(N) % 3,
            "word": np.array(["cat", "dog"])[np.arange(N) % 2],
            "real": g.normal(size=N),
            "matrix": g.normal(size=(N, 4)),
            "phase": np.exp(2j * np.pi * np.arange(N) / N),
        },
        N,
    )
    assert found == {
        "mask": "binary", "zero or one": "binary", "class = 0": "binary", "class = 1": "binary", "class = 2": "binary",
        "class": "space", "word = dog": "binary", "real": "real", "matrix": "space", "phase": "space",
    }  # fmt: skip


def test_many_integers_are_numbers():
    assert kinds({"length": np.arange(MOST_CLASSES + 1)}, MOST_CLASSES + 1) == {"length": "real"}


def test_missing_values_leave_inputs_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0.5, None, *np.arange(10.0)], "b": [*"xyxyxyxyxy", None, "x"]})
    by_name = {each.name: each for each in read_features(frame, 12).features}
    assert by_name["a"].present.tolist() == [True, False, *[True] * 10]
    assert by_name["b = y"].present.tolist() == [True] * 10 + [False, True]
    assert by_name["b = y"].values[:, 0].sum() == 5
    with_none = read_features({"c": [1, None, *[1, 0] * 5]}, 12).features[0]
    assert (with_none.kind, int(with_none.present.sum()), float(with_none.values.sum())) == ("binary", 11, 6)


def test_indicators_of_a_class_add_up_to_one():
    classes = torch.randint(0, 5, (60,), generator=torch.Generator().manual_seed(0))
    found = {each.name: each for each in read_features({"c": classes}, 60).features}
    assert torch.equal(found["c"].values.sum(dim=1), torch.ones(60, dtype=torch.float64))
    assert torch.equal(found["c = 3"].values[:, 0], (classes == 3).double())


@pytest.mark.parametrize("values", [np.zeros(30), np.arange(30) == 0, [None] * 25 + [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_a_feature_that_cannot_be_tested_is_refused_with_its_reason(values):
    found = read_features({"x": values}, 30)
    assert found.features == ()
    assert found.refused["x"]


@pytest.mark.parametrize(
    "features", [[1, 2], {}, {"x": [1, 2, 3]}, {"x": np.zeros((30, 2, 2))}, {"x": [[1], [1, 2]] * 15}]
)
def test_what_is_no_feature_names_the_remedy(features):
    with pytest.raises(InvalidInputError) as caught:
        read_features(features, 30)
    assert "features" in caught.value.where
    assert caught.value.remedy
