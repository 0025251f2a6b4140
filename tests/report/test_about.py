"""A page is about the run's own record: its model, its claims, what was expected of it."""

from dataclasses import replace

import pytest

from tangentlens.errors import StoreError
from tangentlens.paper import SETTINGS
from tangentlens.paper.experiments import find
from tangentlens.records import Figure
from tangentlens.report.about import About, about, describe, write_about
from tangentlens.report.page import render
from tangentlens.report.sections import interventions
from tangentlens.store import open_run
from tests.support.synthetic_language_run import store_language_run
from tests.support.synthetic_run import store_run, synthetic_measurement


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_run(store_run(tmp_path_factory.mktemp("about") / "run", [synthetic_measurement(0)]))


def test_what_is_stored_comes_back(run, tmp_path):
    for setting in SETTINGS.values():
        said = describe(setting.config().model_dump(mode="json"), setting)
        write_about(tmp_path, said)
        assert about(replace(run, folder=tmp_path)) == said


def test_the_record_comes_before_what_the_setting_says_now(run, tmp_path):
    write_about(tmp_path, About("A title of its own", SETTINGS["transformer"].claims[:1], ()))
    page = render(replace(run, folder=tmp_path))
    assert "<h1>A title of its own</h1>" in page
    assert "No experiment states what to expect" in page
    assert about(run).title == "One hidden layer on modular addition"
    (tmp_path / "about.json").write_text("[]")
    with pytest.raises(StoreError, match="says of itself"):
        about(replace(run, folder=tmp_path))


def test_drops_of_words_are_no_accuracies_of_a_classifier(run):
    keys = ("causal.language.ablate.NOUN.entk.own", "causal.language.ablate.macro.entk.selectivity")
    words = dict.fromkeys(keys, Figure(3.0))
    assert not interventions.SECTION.belongs_to(replace(run, figures=words))
    assert interventions.SECTION.belongs_to(replace(run, figures={"causal.own.functions.entk.accuracy": Figure(3.0)}))


def test_every_model_has_its_own_title_and_only_the_experiment_s_its_bounds(tmp_path):
    gemma = open_run(store_language_run(tmp_path / "gemma"))
    other = replace(gemma, config={**gemma.config, "model": {"name": "someone/tiny-lm"}})
    assert about(gemma).title == "gemma-3-270m on windows of stories"
    assert about(gemma).expected == find("gemma").expectations
    assert about(other).title == "tiny-lm on windows of stories"
    assert about(other).expected == ()
