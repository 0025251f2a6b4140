import json
from pathlib import Path

import pytest

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.store import begin, complete
from tangentlens.store import run_folder as module
from tangentlens.store.results import write_results

CONFIG = 'setting = "x"\nseeds = [0]\n'


def finished(folder: Path, mark: str = "", **how: bool) -> Path:
    draft = begin(folder, CONFIG, **how)
    write_results(draft.partial / "results.json", {})
    (draft.partial / "mark").write_text(mark)
    return complete(draft)


def test_a_run_appears_under_its_name_only_when_complete(tmp_path):
    draft = begin(tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    assert complete(draft) == tmp_path / "run"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_complete_run_is_refused_and_left_alone(tmp_path):
    finished(tmp_path / "run", "first")
    with pytest.raises(InvalidInputError, match="--overwrite"):
        begin(tmp_path / "run", CONFIG)
    with pytest.raises(InvalidInputError, match="--overwrite"):
        begin(tmp_path / "run", CONFIG, resume=True)
    assert (tmp_path / "run" / "mark").read_text() == "first"
    assert not (tmp_path / "run.partial").exists()


def test_overwrite_replaces_the_old_run_only_at_the_end(tmp_path):
    finished(tmp_path / "run", "first")
    draft = begin(tmp_path / "run", CONFIG, overwrite=True)
    assert (tmp_path / "run" / "mark").read_text() == "first"
    (draft.partial / "mark").write_text("second")
    complete(draft)
    assert (tmp_path / "run" / "mark").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_interrupted_run_is_resumed_discarded_or_refused(tmp_path):
    first = begin(tmp_path / "run", CONFIG)
    (first.partial / "arrays" / "kept").write_text("")
    with pytest.raises(InvalidInputError, match="--resume"):
        begin(tmp_path / "run", CONFIG)
    again = begin(tmp_path / "run", CONFIG, resume=True)
    assert (again.partial / "arrays" / "kept").exists()
    assert again.environment["started"] == first.environment["started"]
    fresh = begin(tmp_path / "run", CONFIG, overwrite=True)
    assert not (fresh.partial / "arrays" / "kept").exists()


def test_resume_without_anything_to_resume_starts(tmp_path):
    assert begin(tmp_path / "run", CONFIG, resume=True).partial.is_dir()


def test_resume_refuses_another_config(tmp_path):
    begin(tmp_path / "run", CONFIG)
    with pytest.raises(InvalidInputError, match="another config"):
        begin(tmp_path / "run", CONFIG.replace("[0]", "[1]"), resume=True)
    begin(tmp_path / "run", CONFIG.replace("[0]", "[ 0 ] # the same"), resume=True)


def test_resume_refuses_other_versions(tmp_path):
    draft = begin(tmp_path / "run", CONFIG)
    path = draft.partial / "environment.json"
    path.write_text(json.dumps(draft.environment | {"torch": "0.1"}))
    with pytest.raises(InvalidInputError, match=r"torch was 0\.1"):
        begin(tmp_path / "run", CONFIG, resume=True)


@pytest.mark.parametrize("name", ["config.toml", "environment.json"])
def test_a_damaged_draft_is_named(tmp_path, name):
    draft = begin(tmp_path / "run", CONFIG)
    (draft.partial / name).write_text("{ not")
    with pytest.raises(StoreError, match=name):
        begin(tmp_path / "run", CONFIG, resume=True)


def test_a_folder_that_is_no_run_is_never_touched(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInputError, match="not a run"):
        begin(tmp_path / "home", CONFIG, overwrite=True)
    (tmp_path / "run.partial").mkdir()
    with pytest.raises(InvalidInputError, match="not an interrupted run"):
        begin(tmp_path / "run", CONFIG, overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").exists()
    assert (tmp_path / "run.partial").is_dir()


def test_a_file_in_the_way_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--out"):
        begin(tmp_path / "file" / "run", CONFIG)


def test_the_root_is_refused():
    with pytest.raises(InvalidInputError, match="not a run"):
        begin(Path("/"), CONFIG, overwrite=True)


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    finished(tmp_path / "run", "first")
    draft = begin(tmp_path / "run", CONFIG, overwrite=True)
    rename = Path.rename

    def killed(self, target):
        if self == draft.partial:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(module.Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        complete(draft)
    monkeypatch.undo()
    assert not (tmp_path / "run").exists()
    begin(tmp_path / "run", CONFIG, overwrite=True)
    assert (tmp_path / "run" / "mark").read_text() == "first"
