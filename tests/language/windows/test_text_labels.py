import json
import re

import numpy as np
import pandas
import pytest
import torch

from tangentlens.analysis.arguments.features import read_features
from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.text_labels import check_labels, label_features, read_labels
from tangentlens.language.windows.texts import read_texts

TEXTS = read_texts(["Is it?", "No.", "Who, me?", ""])
TABLE = read_texts([{"text": "a", "kind": "x", "n": 1.5}, {"text": "b", "kind": "", "n": float("nan")}])


def read(labels, columns=None, texts=TEXTS):
    return read_labels(labels, texts, columns)


def test_no_labels_are_no_columns():
    assert read(None) == {}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (re.compile(r"\?$"), (True, False, True, False)),
        (r"\?$", (True, False, True, False)),
        (lambda text: re.search(r"\?$", text), (True, False, True, False)),
        (lambda text: text.endswith("?"), (True, False, True, False)),
        (lambda text: text[:1] or None, ("I", "N", "W", None)),
        (len, (6, 3, 8, 0)),
        (lambda text: len(text) / 2 if text else float("nan"), (3.0, 1.5, 4.0, None)),
        (lambda text: {word for word in ("Is", "it", "me") if word in text}, (("Is", "it"), (), ("me",), ())),
    ],
)
def test_rules_over_the_text(rule, expected):
    assert read({"rule": rule}) == {"rule": expected}


def test_values_in_any_form_and_mix():
    values = {
        "list": ["a", None, "", "b"],
        "array": np.array([1, 0, 1, 0]),
        "tensor": torch.tensor([True, False, False, True]),
        "series": pandas.Series([1, 2, None, 4], dtype="Int64"),
        "real": np.array([0.5, np.nan, 1.5, 2]),
        "several": [["b", "a", "a"], None, [], ("c",)],
        "question": r"\?",
    }
    assert read(values) == {
        "list": ("a", None, None, "b"),
        "array": (1, 0, 1, 0),
        "tensor": (True, False, False, True),
        "series": (1, 2, None, 4),
        "real": (0.5, None, 1.5, 2.0),
        "several": (("a", "b"), None, (), ("c",)),
        "question": (True, False, True, False),
    }
    assert [type(value) for value in read(values)["array"]] == [int] * 4


def test_tables_frames_and_the_text_s_own_columns(tmp_path):
    rows = [{"text": text, "kind": kind, "n": n} for n, (text, kind) in enumerate(zip("abcd", "xxy ", strict=True))]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = {"kind": ("x", "x", "y", " "), "n": (0, 1, 2, 3)}
    assert read(path) == read(str(path)) == both
    assert read(str(path), ["n"]) == {"n": both["n"]}
    assert read(pandas.DataFrame(rows)[["kind", "n"]]) == both
    assert read(pandas.DataFrame(rows), ("kind",)) == {"kind": both["kind"]}
    assert read(["kind"], texts=TABLE) == read(None, ["kind"], texts=TABLE) == {"kind": ("x", None)}
    assert read({"long": "..", "b": "b"}, ["n"], texts=TABLE) == {
        "long": (False, False),
        "b": (False, True),
        "n": (1.5, None),
    }
    assert list(read(re.compile("x?"), texts=TABLE)) == ["x?"]


def fails(text):
    return text[10]


@pytest.mark.parametrize(
    ("labels", "columns", "words"),
    [
        ({"x": [1, 2]}, None, r"2 values for 4 texts.*labels\['x'\]"),
        ({"x": np.ones((3, 1))}, None, "3 values for 4 texts"),
        ({"x": np.ones((4, 2))}, None, r"holds more than strings.*'x'.*text 0"),
        ({"x": [None, "", None, float("nan")]}, None, "no text has a value.*'x'"),
        ({"x": ["a", {}, "b", "c"]}, None, r"a dict is no label.*text 1"),
        ({"x": [1.0, 2.0, float("inf"), 1.0]}, None, r"infinite.*text 2"),
        ({"x": fails}, None, r"the rule failed.*IndexError.*text 0"),
        ({"x": "("}, None, r"no regular expression.*labels\['x'\]"),
        ({"x": 5}, None, "a int gives no values.*'x'"),
        ({"x": {"a": 1}}, None, "a dict gives no values"),
        ({}, None, "no labels in it"),
        (5, None, "a int names no labels"),
        ([1, 2, 3, 4], None, "a list names no labels"),
        (["kind"], None, r"no column 'kind'.*no columns beside the text"),
        (None, "kind", "one string is no list of columns"),
        ("/no/such/labels.jsonl", None, "no such file"),
        ("labels.csv", None, "no such file"),
    ],
)
def test_labels_that_cannot_be_used_are_named(labels, columns, words):
    with pytest.raises(InvalidInputError, match=words):
        read(labels, columns)


def test_tables_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"kind": "x"}\n')
    with pytest.raises(InvalidInputError, match=r"1 rows for 4 texts.*labels\.jsonl"):
        read(path)
    path.write_text('{"kind": "x"}\n' * 4)
    with pytest.raises(InvalidInputError, match=r"no column 'sort'.*It has \['kind'\]"):
        read(path, ["sort"])
    path.write_text("")
    with pytest.raises(InvalidInputError, match="no row in it"):
        check_labels(path)
    (tmp_path / "labels.csv").write_text("kind\nx\n")
    with pytest.raises(InvalidInputError, match=r"'\.csv'"):
        check_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize("labels", ["/no/such/labels.jsonl", {"x": "("}, {"x": 5}, 5, {}])
def test_what_is_wrong_whatever_the_texts_is_found_without_them(labels):
    with pytest.raises(InvalidInputError):
        check_labels(labels)


def test_kinds_are_those_of_an_analysis():
    N = 24
    values = {
        "binary": [bool(row % 2) for row in range(N)],
        "classes": ["abc"[row % 3] for row in range(N)],
        "integers": [row % 3 for row in range(N)],
        "real": [row / 7 for row in range(N)],
        "missing": [None if row < 4 else row / 7 for row in range(N)],
    }
    found, expected = label_features(values, N), read_features(values, N)
    assert [(f.name, f.family, f.kind) for f in found.features] == [
        (f.name, f.family, f.kind) for f in expected.features
    ]
    assert all(torch.equal(f.values, g.values) for f, g in zip(found.features, expected.features, strict=True))
    assert found.classes == expected.classes


def test_several_classes_of_a_column_overlap_and_are_one_family():
    values = [("a", "b") if row < 6 else ("b",) if row < 12 else () if row < 20 else None for row in range(24)]
    found = label_features({"topic": values, "empty": [None] * 24, "none": [()] * 24}, 24)
    assert [(f.name, f.family, f.kind) for f in found.features] == [
        ("topic = a", "topic", "binary"),
        ("topic = b", "topic", "binary"),
    ]
    first, second = found.features
    assert first.values[:, 0].tolist() == [1.0] * 6 + [0.0] * 18
    assert second.values[:, 0].tolist() == [1.0] * 12 + [0.0] * 12
    assert first.present.tolist() == [True] * 20 + [False] * 4
    assert found.classes == {"topic": ("topic = a", "topic = b")}
    assert set(found.refused) == {"empty", "none"}
