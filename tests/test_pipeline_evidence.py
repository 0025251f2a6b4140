"""The step from a measured run to one with evidence, at once or later."""

import json

import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.pipeline import add_evidence, run
from tangentlens.store import open_run
from tests.support.fake_setting import FakeConfig, evidence, fake, measure

SETTINGS = fake(evidence=evidence)


def test_evidence_and_verdicts_are_part_of_a_run_unless_left_out(tmp_path):
    whole = open_run(run(FakeConfig(), tmp_path / "whole", settings=SETTINGS))
    assert whole.figures["twice"].value == 2.0
    assert whole.figures["claim.grows.effect"].value == 1.0
    assert (
        whole.figures["claim.grows.p"].value == 0.25
    )  # effects 0, 1, 2: two of eight sign choices, the zero either way
    assert whole.has("a", "b")
    bare = open_run(run(FakeConfig(), tmp_path / "bare", settings=SETTINGS, evidence=False))
    assert not [key for key in bare.figures if key.startswith(("twice", "claim"))]


def test_evidence_added_later_is_the_same_and_measures_nothing_again(tmp_path):
    whole = run(FakeConfig(), tmp_path / "whole", settings=SETTINGS)
    later = run(FakeConfig(), tmp_path / "later", settings=SETTINGS, evidence=False)

    def forbidden(*_arguments):
        raise AssertionError

    add_evidence(later, settings=fake(forbidden, evidence))
    assert (later / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    environment = json.loads((later / "environment.json").read_text())
    assert environment["evidence"]["tangentlens"] == environment["tangentlens"]


def test_interrupted_evidence_is_taken_up_where_it_stopped(tmp_path):
    folder = run(FakeConfig(), tmp_path / "run", settings=SETTINGS, evidence=False)
    before = (folder / "results.json").read_bytes()
    examined: list[int] = []

    def failing(config, measured, progress):
        examined.append(measured.seed)
        if examined == [0, 1]:
            raise KeyboardInterrupt
        return evidence(config, measured, progress)

    with pytest.raises(KeyboardInterrupt):
        add_evidence(folder, settings=fake(measure, failing))
    assert (folder / "results.json").read_bytes() == before
    assert open_run(folder).figures["x"].value == 1.0
    add_evidence(folder, settings=fake(measure, failing))
    assert examined == [0, 1, 1, 2]
    add_evidence(folder, settings=fake(measure, failing))
    assert examined == [0, 1, 1, 2]
    add_evidence(folder, settings=fake(measure, failing), overwrite=True)
    assert examined == [0, 1, 1, 2, 0, 1, 2]


def test_evidence_of_other_versions_is_not_mixed(tmp_path):
    folder = run(FakeConfig(), tmp_path / "run", settings=SETTINGS, evidence=False)
    add_evidence(folder, settings=SETTINGS)
    path = folder / "environment.json"
    told = json.loads(path.read_text())
    told["evidence"]["torch"] = "1.0"
    path.write_text(json.dumps(told))
    with pytest.raises(InvalidInputError, match=r"torch was 1\.0"):
        add_evidence(folder, settings=SETTINGS)
    add_evidence(folder, settings=SETTINGS, overwrite=True)


def test_a_setting_without_evidence_is_refused(tmp_path):
    folder = run(FakeConfig(), tmp_path / "run", settings=fake())
    with pytest.raises(InvalidInputError, match="no evidence for the setting fake"):
        add_evidence(folder, settings=fake())
    with pytest.raises(InvalidInputError, match="not a run"):
        add_evidence(tmp_path, settings=fake())
