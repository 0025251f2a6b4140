import pytest

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.language.windows.journal import Journal


def test_pieces_outlive_the_process(tmp_path):
    path = tmp_path / "deep" / "j.jsonl"
    first = Journal(path, {"seed": 0})
    first.add([("a", {"x": 1}), ("b", None)])
    first.add([])
    again = Journal(path, {"seed": 0})
    assert "a" in again
    assert again["a"] == {"x": 1}
    assert again["b"] is None
    assert "c" not in again


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_a_line_written_by_half_is_cut_off_and_the_rest_kept(tmp_path, cut):
    path = tmp_path / "j.jsonl"
    Journal(path, {}).add([("a", "first"), ("b", "second")])
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, {})
    assert ("a" in again, "b" in again) == (True, False)
    again.add([("b", "second")])
    assert Journal(path, {})["b"] == "second"


def test_a_header_written_by_half_starts_anew(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"made_fr')
    Journal(path, {"x": 1}).add([("a", 1)])
    assert Journal(path, {"x": 1})["a"] == 1


def test_pieces_of_something_else_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "j.jsonl"
    Journal(path, {"seed": 0})
    with pytest.raises(InvalidInputError, match="same settings"):
        Journal(path, {"seed": 1})
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(StoreError, match="Remove the file"):
        Journal(path, {"seed": 0})
    with pytest.raises(StoreError):
        Journal(path / "below", {})


def test_a_full_disk_is_a_store_error(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j.jsonl", {})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        journal.add([("a", 1)])


def test_without_a_file_pieces_stay_in_memory():
    journal = Journal(None, {})
    journal.add([("a", 1)])
    assert journal["a"] == 1
