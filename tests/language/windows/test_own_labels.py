import json

import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.own_labels import LabelledText, own_labels


def table(folder, *rows):
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_rows_become_labelled_texts_with_either_spelling_of_features(tmp_path):
    path = table(
        tmp_path,
        {"prefix": "I saw the", "kind": "NOUN", "next": "cat", "features": {"Number": "Sing", "Case": None}},
        {"prefix": "They", "kind": "VERB", "next": "run", "features": "Number=Plur|Person=3"},
        {"prefix": "So", "kind": "PUNCT", "next": ",", "features": "_"},
        {"prefix": "Now", "kind": "X", "next": "", "features": None},
    )
    assert own_labels(path, text="prefix", label="kind", word="next", morphology="features") == (
        LabelledText("I saw the", "cat", "NOUN", {"Number": "Sing"}),
        LabelledText("They", "run", "VERB", {"Number": "Plur", "Person": "3"}),
        LabelledText("So", ",", "PUNCT", {}),
        LabelledText("Now", "", "X", {}),
    )


def test_word_and_features_may_be_absent(tmp_path):
    path = table(tmp_path, {"text": "a", "label": "b", "more": 1})
    assert own_labels(path) == (LabelledText("a", "", "b", {}),)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a"}, "no column 'label'"),
        ({"text": 3, "label": "b"}, "'text' is int.*row 0"),
        ({"text": "a", "label": None}, "'label' is NoneType"),
        ({"text": "a", "label": "b", "m": "Number"}, "'Number' is no feature"),
        ({"text": "a", "label": "b", "m": 5}, "the features are int"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, row, words):
    with pytest.raises(InvalidInputError, match=words):
        own_labels(table(tmp_path, row), morphology="m" if "m" in row else None)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no row"):
        own_labels(table(tmp_path))
    with pytest.raises(InvalidInputError, match="no such file"):
        own_labels(tmp_path / "absent.jsonl")
    (tmp_path / "x.csv").write_text("text,label\n")
    with pytest.raises(InvalidInputError, match=r"'\.csv'.*\.jsonl"):
        own_labels(tmp_path / "x.csv")
