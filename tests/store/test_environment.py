import getpass
import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tangentlens.errors import StoreError
from tangentlens.store import environment as module
from tangentlens.store.environment import describe_environment, differences, read_environment, write_environment


def test_it_says_with_what_and_nothing_of_where_or_who():
    described = describe_environment()
    assert {"schema", "tangentlens", "commit", "python", "torch", "numpy", "cpu_count", "threads"} <= described.keys()
    text = json.dumps(described)
    assert "/" not in text
    host = platform.node()
    assert not host or host not in text
    assert not any(value == getpass.getuser() for value in described.values())


def test_it_comes_back_and_another_schema_is_refused(tmp_path):
    described = describe_environment()
    write_environment(tmp_path, described)
    assert read_environment(tmp_path) == described
    write_environment(tmp_path, described | {"schema": 99})
    with pytest.raises(StoreError, match="schema 99"):
        read_environment(tmp_path)
    (tmp_path / "environment.json").write_text("[")
    with pytest.raises(StoreError, match=r"environment\.json"):
        read_environment(tmp_path)


def test_only_decisive_differences_count():
    now = describe_environment()
    assert differences(now, now | {"started": "later", "threads": 64}) == ()
    assert differences(now, now | {"numpy": "0.1"}) == (f"numpy was {now['numpy']}, now 0.1",)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout_that_tracks_the_file(tmp_path):
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    tracked, other = tmp_path / "tracked.py", tmp_path / "other.py"
    for file in (tracked, other):
        file.write_text("")
    git("init", "-q")
    git("add", "tracked.py")
    git("commit", "-qm", "first")
    described = module._commit(tracked)
    assert described == {"commit": git("rev-parse", "HEAD"), "source": git("rev-parse", "HEAD:"), "modified": False}
    assert module._commit(other)["commit"] is None
    tracked.write_text("changed")
    assert module._commit(tracked)["modified"] is True


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert module._commit(Path(module.__file__)) == {"commit": None, "source": None, "modified": None}
