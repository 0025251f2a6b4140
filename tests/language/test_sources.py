import logging
from pathlib import Path

import httpx
import pytest
from gguf import GGMLQuantizationType
from huggingface_hub import errors

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.language import sources
from tangentlens.language.folder_cache import sha256
from tangentlens.language.sources import resolve
from tests.support import tiny_gguf


class Hub:
    """What the hub and its cache on this machine answer; an exception is raised."""

    def __init__(self, asked, kept=None):
        self.asked, self.kept = asked, kept or errors.LocalEntryNotFoundError("nothing cached")

    def get_hf_file_metadata(self, _url, timeout):
        assert timeout < 10
        if isinstance(self.asked, Exception):
            raise self.asked
        return type("Metadata", (), {"commit_hash": self.asked})

    def hf_hub_download(self, _name, _file, *, local_files_only, **_revision):
        assert local_files_only
        if isinstance(self.kept, Exception):
            raise self.kept
        return f"/cache/snapshots/{self.kept}/config.json"


@pytest.fixture
def hub(monkeypatch):
    def answer(asked, kept=None):
        fake = Hub(asked, kept)
        for name in ("get_hf_file_metadata", "hf_hub_download"):
            monkeypatch.setattr(f"huggingface_hub.{name}", getattr(fake, name))

    return answer


def refusal(kind):
    return kind("no", response=httpx.Response(404, request=httpx.Request("HEAD", "https://huggingface.co")))


def package(folder, installed=True):
    return sources._Package(lambda **_: folder, lambda: installed, "gemma", "rounded weights")


def test_a_hub_model_is_pinned_to_its_commit(hub):
    hub(asked="abc123")
    source = resolve("somebody/model", "main")
    assert (source.kind, source.location, source.revision, source.note) == ("hub", "somebody/model", "abc123", "")


def test_without_a_network_the_hub_s_cache_on_this_machine_is_taken(hub):
    hub(asked=ConnectionError("no network"), kept="def456")
    assert resolve("somebody/model").revision == "def456"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (errors.GatedRepoError, "accepted its terms"),
        (errors.RepositoryNotFoundError, "no such model"),
        (errors.RevisionNotFoundError, "no revision 'x'"),
        (errors.RemoteEntryNotFoundError, r"no config\.json"),
    ],
)
def test_a_refusal_of_the_hub_says_why(hub, answer, words):
    hub(asked=refusal(answer))
    with pytest.raises(InvalidInputError, match=words):
        resolve("somebody/model", "x")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no such thing", "neither a file"),
        ("./model.gguf", "no such file"),
        ("/absent/folder", "no such file"),
        ("model.gguf", "no such file"),
        ("somebody/model", "cannot be reached"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(hub, name, words):
    hub(asked=ConnectionError("no network"))
    with pytest.raises(InvalidInputError, match=words):
        resolve(name)


def test_an_installed_package_stands_in_and_the_log_and_the_record_say_so(hub, tmp_path, monkeypatch, caplog):
    (tmp_path / "manifest.json").write_text('{"made_from": {"gguf_sha256": "77"}}')
    monkeypatch.setitem(sources._PACKAGES, "google/gemma-3-270m", package(tmp_path))
    hub(asked=ConnectionError("no network"))
    with caplog.at_level(logging.WARNING, logger="tangentlens"):
        source = resolve("google/gemma-3-270m")
    assert (source.kind, source.location, source.sha256) == ("package", str(tmp_path), "77")
    assert source.note == "rounded weights"
    assert "rounded weights" in caplog.text


def test_a_package_never_stands_in_for_a_revision_or_for_an_answer_of_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sources._PACKAGES, "google/gemma-3-270m", package(tmp_path))
    hub(asked=ConnectionError("no network"))
    with pytest.raises(InvalidInputError, match="cannot be reached"):
        resolve("google/gemma-3-270m", "main")
    hub(asked="abc123")
    assert resolve("google/gemma-3-270m").kind == "hub"


def test_a_package_that_is_not_installed_is_named(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sources._PACKAGES, "google/gemma-3-270m", package(tmp_path, installed=False))
    hub(asked=ConnectionError("no network"))
    with pytest.raises(MissingExtraError, match=r"tangentlens\[gemma\]"):
        resolve("google/gemma-3-270m")


def test_a_gguf_file_is_recorded_by_its_hash(tmp_path):
    path = tmp_path / "tiny.gguf"
    tiny_gguf.write_gguf(tiny_gguf.tiny_gemma(), path, GGMLQuantizationType.F16)
    source = resolve(path, cache=tmp_path / "cache")
    assert (source.kind, source.sha256, source.revision) == ("gguf", sha256(path), None)
    assert Path(source.location).parent == tmp_path / "cache"


def test_a_folder_is_recorded_by_what_it_holds(tmp_path):
    tiny_gguf.tiny_gemma(seed=1).save_pretrained(tmp_path / "one")
    tiny_gguf.tiny_gemma(seed=2).save_pretrained(tmp_path / "two")
    one, again, two = (resolve(tmp_path / name) for name in ("one", "one", "two"))
    assert (one.kind, one.location) == ("folder", str(tmp_path / "one"))
    assert one.sha256 == again.sha256 != two.sha256


def test_a_folder_without_a_model_and_a_revision_of_a_folder_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"config\.json"):
        resolve(tmp_path)
    with pytest.raises(InvalidInputError, match="revision"):
        resolve(tmp_path, "main")
