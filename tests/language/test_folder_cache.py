import threading
from pathlib import Path

import pytest

from tangentlens.errors import StoreError
from tangentlens.language.folder_cache import cache_root, cached_folder, damage


def write_one(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "a").write_text("content")


def test_a_folder_is_built_once(tmp_path):
    built = []

    def build(folder):
        built.append(folder)
        write_one(folder)

    for _ in range(3):
        assert cached_folder(tmp_path / "x", build, {"from": "here"}) == tmp_path / "x"
    assert len(built) == 1


@pytest.mark.parametrize("harm", ["change", "remove", "add", "manifest"])
def test_every_kind_of_damage_is_seen_and_repaired(tmp_path, harm):
    folder = cached_folder(tmp_path / "x", write_one, {})
    inner = folder / "inner"
    if harm == "change":
        (inner / "a").write_text("contenT")
    elif harm == "remove":
        (inner / "a").unlink()
    elif harm == "add":
        (inner / "b").touch()
    else:
        (folder / "manifest.json").write_text("{")
    assert damage(folder) is not None
    assert damage(cached_folder(folder, write_one, {})) is None
    assert (inner / "a").read_text() == "content"
    assert not (inner / "b").exists()


def test_a_build_that_fails_or_was_killed_leaves_no_folder(tmp_path):
    def fail(folder):
        write_one(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_folder(tmp_path / "x", fail, {})
    assert not (tmp_path / "x").exists()
    assert damage(cached_folder(tmp_path / "x", write_one, {})) is None


def test_those_who_ask_at_once_get_one_build(tmp_path):
    built, ready = [], threading.Barrier(4)

    def build(folder):
        built.append(folder)
        write_one(folder)

    def ask():
        ready.wait()
        cached_folder(tmp_path / "x", build, {})

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert damage(tmp_path / "x") is None


def test_a_full_disk_is_a_store_error_with_the_remedy(tmp_path):
    def full(_folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"No space left.*XDG_CACHE_HOME"):
        cached_folder(tmp_path / "x", full, {})


def test_the_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "tangentlens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "tangentlens"
