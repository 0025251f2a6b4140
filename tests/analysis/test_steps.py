"""The analysis of a subject leaves out the steps whose needs are absent, and says so."""

from dataclasses import replace

import pytest

from tangentlens.analysis.findings import Findings
from tangentlens.analysis.steps import STEPS, Step, analyse
from tangentlens.analysis.subject import Subject
from tangentlens.paper.mlp import evidence as mlp_evidence
from tangentlens.paper.mlp import measure as mlp
from tangentlens.records import Measurement

CONFIG = mlp.Config.model_validate(
    {
        "data": {"p": 5},
        "model": {"width": 16},
        "training": {"epochs": 10, "measure_every": 5, "learning_rate": 0.05},
        "evidence": {"random_subspaces": 1, "null_draws": 20, "directions": 1, "doses": [1.0], "random_curves": 2},
    }
)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return mlp_evidence.subject(CONFIG, mlp.measure(CONFIG, 0))


def quick(found: Measurement) -> set[str]:
    return {key.split(".")[0] for key in found.figures}


def test_steps_that_lack_something_are_left_out_and_named(subject):
    bare = replace(subject, nulls=None, spaces=None, curves=None)
    found = analyse(bare, CONFIG.evidence)
    assert found.notes == ("null models: not done, needs nulls and spaces", "onset: not done, needs curves")
    assert quick(found) == {"causal", "settle", "leaderboard"}
    assert analyse(subject, CONFIG.evidence).notes == ()


def test_a_step_of_ones_own_is_one_line(subject):
    rows = Step("rows", ("split",), lambda subject, _options: Findings({"rows": (float(len(subject.labels)), "count")}))
    heard: list[tuple[str, int, int]] = []
    found = analyse(subject, CONFIG.evidence, steps=[rows], progress=lambda *step: heard.append(step))
    assert found.figures == {"rows": 25.0}
    assert heard == [("seed 0: evidence", 0, 1), ("seed 0: evidence", 1, 1)]


def test_every_need_is_a_field_of_a_subject():
    assert {name for step in STEPS for name in step.needs} <= Subject.__dataclass_fields__.keys()
