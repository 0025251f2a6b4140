import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.language.folder_cache import sha256
from tangentlens.language.windows import text as text_module
from tangentlens.language.windows.text import file_stories, hub_stories

HOSTILE = "a\x00b \x07\x1b[31m \u200f\u202eשלום é🙂 <|not a separator|> \x85 \u2028 end"


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def test_the_end_of_text_mark_separates_and_blank_lines_then_do_not(tmp_path):
    path = written(tmp_path, "x.txt", "one\n\nstill one\n<|endoftext|>\n\ntwo<|endoftext|>")
    assert list(file_stories(path)) == ["one\n\nstill one", "two"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_separate_where_there_is_no_mark(tmp_path, end):
    path = written(tmp_path, "x.txt", end.join(["", "one", "and more", "", " \t", "two", "", "", "three"]))
    assert list(file_stories(path)) == [f"one{end}and more", "two", "three"]


@settings(deadline=None, max_examples=40)
@given(parts=st.lists(st.text("ab \n\x00🙂", min_size=1, max_size=12), min_size=1, max_size=8), chunk=st.integers(1, 9))
def test_the_size_of_the_pieces_read_does_not_show(tmp_path_factory, parts, chunk):
    path = written(tmp_path_factory.mktemp("t"), "x.txt", "<|endoftext|>".join(["first", *parts]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "_CHUNK", max(chunk, len("first<|endoftext|>")))
        found = list(file_stories(path))
    assert found == ["first", *(part.strip(" \t\r\n") for part in parts if part.strip(" \t\r\n"))]


def test_hostile_text_passes_as_it_is(tmp_path):
    assert list(file_stories(written(tmp_path, "x.txt", HOSTILE))) == [HOSTILE]
    assert list(file_stories(written(tmp_path, "x.jsonl", json.dumps({"text": HOSTILE})))) == [HOSTILE]


def test_a_column_of_a_table_is_read_in_order(tmp_path):
    rows = [{"story": f"story {number}", "other": number} for number in range(5)]
    lines = written(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    assert list(file_stories(lines, column="story")) == [row["story"] for row in rows]
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=2)
    assert list(file_stories(tmp_path / "x.parquet", column="story")) == [row["story"] for row in rows]


def test_the_source_is_recorded_by_name_and_hash_and_can_be_read_again(tmp_path):
    path = written(tmp_path, "x.txt", "one\n\ntwo")
    stories = file_stories(path)
    assert stories.source == {"kind": "file", "place": "x.txt", "sha256": sha256(path)}
    assert list(stories) == list(stories)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", " \n\n\t\r\n", "no text"),
        ("x.jsonl", "", "no text"),
        ("x.jsonl", '{"text": "a"}\n{"text": 5}', "row 1 has no text in column 'text' but int"),
        ("x.jsonl", '{"text": null}', "but NoneType"),
        ("x.jsonl", '{"story": "a"}', r"no column 'text'.*It has \['story'\]"),
        ("x.jsonl", '{"text": "a"}\n{"text', "line 2"),
        ("x.jsonl", "[1]", "holds a list"),
        ("x.parquet", "PAR0", "not parquet"),
    ],
)
def test_text_that_cannot_be_used_is_refused(tmp_path, name, content, words):
    with pytest.raises(InvalidInputError, match=words):
        list(file_stories(written(tmp_path, name, content)))


def test_absent_and_badly_encoded_files_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no such file"):
        file_stories(tmp_path / "x.txt")
    (tmp_path / "x.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        list(file_stories(tmp_path / "x.txt"))


def test_a_hub_that_cannot_be_reached_is_an_error_with_the_remedy(monkeypatch):
    def fail(*_args, **_options):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    with pytest.raises(InvalidInputError, match=r"no network.*roneneldan/TinyStories.*text file"):
        hub_stories()


def test_the_hub_s_stories_are_pinned_to_their_revision(monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_a, **_o: type("Info", (), {"sha": "abc"}))
    asked = {}

    def load(name, **options):
        asked.update(options, name=name)
        return [{"text": "one"}, {"text": " two\n"}]

    monkeypatch.setattr("datasets.load_dataset", load)
    stories = hub_stories(split="validation")
    assert list(stories) == ["one", "two"]
    assert asked == {"name": "roneneldan/TinyStories", "split": "validation", "streaming": True, "revision": "abc"}
    assert stories.source["revision"] == "abc"


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("tangentlens.models.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"tangentlens\[language\]"):
        hub_stories()


def test_the_sample_beside_the_checkout_holds_its_stories():
    path = Path(__file__).parents[3] / "shared" / "data" / "tinystories_sample.txt"
    if not path.is_file():
        pytest.skip("the sample of TinyStories is not beside this checkout")
    found = list(file_stories(path))
    assert len(found) == 1650
    assert found[0].startswith("One day, a little girl named Lily found a needle")
    assert not any("<|endoftext|>" in story for story in found)
