import json

import pandas
import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.language.folder_cache import sha256
from tangentlens.language.windows.generated import WritingRules, written_stories
from tangentlens.language.windows.texts import read_texts
from tests.support.language_cases import byte_level_tokenizer, given, stories, tiny_llama

ROWS = [
    {"text": "one", "kind": "a", "n": 1},
    {"text": " two\n", "kind": None, "n": 2},
    {"text": "", "kind": "b"},
]


def lines(folder, rows=ROWS, name="x.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_strings_stay_as_they_are():
    found = read_texts(["one", " two\n", "", "é\x00"])
    assert found.texts == ("one", " two\n", "", "é\x00")
    assert read_texts(("one", " two\n", "", "é\x00")).source == found.source
    assert read_texts(["one two", "\n", "", "é\x00"]).source["texts_sha256"] != found.source["texts_sha256"]


def test_a_text_file_is_read_as_its_stories(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("one\n\ntwo\nmore\n\n", "utf-8")
    for text in (path, str(path)):
        found = read_texts(text)
        assert found.texts == ("one", "two\nmore")
        assert found.source["sha256"] == sha256(path)
        assert found.source["place"] == "x.txt"


def test_tables_frames_and_data_sets_bring_their_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    datasets = pytest.importorskip("datasets")
    whole = [{"n": None, **row} for row in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(whole), tmp_path / "x.parquet")
    sources = [
        lines(tmp_path),
        str(tmp_path / "x.parquet"),
        ROWS,
        iter(ROWS),
        datasets.Dataset.from_list(whole),
    ]
    for text in sources:
        found = read_texts(text)
        assert found.texts == ("one", " two\n", "")
        assert found.columns == {"kind": ("a", None, "b"), "n": (1, 2, None)}
        assert found.source["column"] == "text"
        assert found.source["texts"] == 3
    frame = read_texts(pandas.DataFrame(whole))
    assert frame.texts == ("one", " two\n", "")
    assert frame.columns["kind"][::2] == ("a", "b")


def test_a_column_that_only_later_rows_have_is_missing_before():
    assert read_texts([{"text": "a"}, {"text": "b", "x": 3}]).columns == {"x": (None, 3)}


def test_stories_are_read_up_to_a_limit_and_the_record_says_so():
    found = read_texts(stories(5), most=3)
    assert len(found) == 3
    assert found.source["more"] is True
    assert read_texts(stories(5), most=5).source["more"] is False
    assert read_texts(given(["a"])).texts == ("a",)


def test_the_model_s_own_stories_are_texts():
    tokenizer = byte_level_tokenizer()
    model = tiny_llama(len(tokenizer))
    rules = WritingRules(count=3, tokens=12, openings=("Ada saw",))
    found = read_texts(written_stories(model, tokenizer, rules, model_name="mine"))
    assert len(found) == 3
    assert found.source["kind"] == "written by the model"


def test_a_data_set_of_the_hub_brings_its_columns(monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_a, **_o: type("Info", (), {"sha": "abc"}))
    monkeypatch.setattr("datasets.load_dataset", lambda *_a, **_o: iter(ROWS))
    found = read_texts("hub:some/stories", split="test", most=2)
    assert found.texts == ("one", " two\n")
    assert found.columns == {"kind": ("a", None), "n": (1, 2)}
    source = {"kind": "hub", "place": "some/stories", "revision": "abc", "split": "test", "more": True}
    assert source.items() <= found.source.items()

    def fail(*_args, **_options):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    with pytest.raises(InvalidInputError, match=r"no network.*some/stories"):
        read_texts("hub:some/stories")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/no/such/file.txt", "no such file"),
        ("only one text\n", "one string is a path"),
        ([], "no text in it"),
        ([" ", ""], "no text in it"),
        (["a", 3], r"text 1 is int.*text\[1\]"),
        (["a", None], "text 1 is NoneType"),
        ({"train": ["a"]}, r"a dict with the keys \['train'\] is no text"),
        (5, "a int is no text"),
        (b"bytes", "a bytes is no text"),
        ([{"story": "a"}], r"no column 'text'.*row 0.*it has \['story'\]"),
        ([{"text": "a"}, {"text": 5}], r"'text' holds int.*row 1"),
    ],
)
def test_what_is_no_text_is_refused(text, words):
    with pytest.raises(InvalidInputError, match=words):
        read_texts(text)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", " \n\n", "no text"),
        ("x.jsonl", "", "no text"),
        ("x.jsonl", '{"story": "a"}\n', "no column 'text'"),
        ("x.jsonl", '{"text": "a"}\n{"te', "line 2"),
        ("x.parquet", "PAR0", "not parquet"),
    ],
)
def test_files_that_hold_no_text_are_refused(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError, match=words):
        read_texts(tmp_path / name)
