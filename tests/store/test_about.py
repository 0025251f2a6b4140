"""A run's own record of its title, claims and expectations, and what stands in where an older version has none."""

import json
from pathlib import Path

import pytest

from tangentlens.errors import StoreError
from tangentlens.paper import SETTINGS, about
from tangentlens.paper.experiments import find
from tangentlens.report import build_report
from tangentlens.report.gallery import write_gallery
from tangentlens.report.page import shown_run
from tangentlens.store import open_run
from tangentlens.store.about import About, read_about, write_about
from tests.support.synthetic_language_run import CONFIG, language_measurement
from tests.support.synthetic_run import store_run, synthetic_measurement

TITLE = "One hidden layer on modular addition"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A run without about.json."""
    return store_run(tmp_path / "run", [synthetic_measurement(0)], described=False)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_what_is_stored_comes_back(tmp_path, name):
    described = about(SETTINGS[name].config().model_dump(mode="json"))
    assert described.title
    assert described.expected
    write_about(tmp_path, described)
    assert read_about(tmp_path, About("another")) == described


def test_a_run_of_before_is_described_by_whoever_opens_it(older, tmp_path):
    assert not (older / "about.json").exists()
    assert open_run(older).about == About("mlp")
    run = open_run(older, about)
    assert run.about.title == TITLE
    assert run.about.claims == SETTINGS["mlp"].claims
    assert run.about.expected == find("mlp").expectations
    assert "data.p = 11 (there 29)" in run.about.departures
    assert shown_run(older, describe=about).about == run.about
    assert f"<h1>{TITLE}</h1>" in build_report(older, describe=about).read_text("utf-8")
    assert write_gallery([older], tmp_path / "gallery", describe=about)[0].parent.name == "mlp"


def test_the_record_comes_before_what_the_setting_says_now(older):
    write_about(older, About("A title of its own", SETTINGS["transformer"].claims[:1]))
    assert open_run(older, about).about == About("A title of its own", SETTINGS["transformer"].claims[:1])
    page = build_report(older, describe=about).read_text("utf-8")
    assert "<h1>A title of its own</h1>" in page
    assert "No experiment states what to expect" in page


def test_what_an_older_record_lacks_is_described_too(older):
    stored = {"title": "Its own", "claims": [], "expected": [{"key": "x", "source": "wish", "at_least": 1.0}]}
    (older / "about.json").write_text(json.dumps(stored))
    found = open_run(older, about).about
    assert (found.title, found.claims, [row.key for row in found.expected]) == ("Its own", (), ["x"])
    assert found.experiment == "mlp"
    assert found.departures


@pytest.mark.parametrize("text", ["[]", "{", '{"title": 3}', "3"])
def test_a_damaged_record_is_an_error(older, text):
    (older / "about.json").write_text(text)
    with pytest.raises(StoreError, match=r"title, claims and expectations.*about\.json|about\.json"):
        open_run(older, about)


def test_every_model_has_its_own_title_and_only_the_experiment_s_its_bounds(tmp_path):
    run = open_run(store_run(tmp_path / "run", [language_measurement()], CONFIG, described=False), about)
    assert run.about.title == "gemma-3-270m on windows of stories"
    assert run.about.expected == find("gemma").expectations
    other = about({**run.config, "model": {"name": "someone/tiny-lm"}})
    assert (other.title, other.expected) == ("tiny-lm on windows of stories", ())
