"""The analysis of a subject leaves out the steps whose needs are absent, and says so."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tangentlens.analysis.case import Case
from tangentlens.analysis.evidence.trained_network import TrainedNetwork
from tangentlens.analysis.evidence_steps import EVIDENCE_STEPS, collect_evidence
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.model_steps import MODEL_STEPS
from tangentlens.analysis.steps import Step, left_out, possible
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
def subject() -> TrainedNetwork:
    return mlp_evidence.trained_network(CONFIG, mlp.measure(CONFIG, 0))


def quick(found: Measurement) -> set[str]:
    return {key.split(".")[0] for key in found.figures}


def test_steps_that_lack_something_are_left_out_and_named(subject):
    bare = replace(subject, nulls=None, spaces=None, curves=None)
    found = collect_evidence(bare, CONFIG.evidence)
    assert found.notes == ("null models: not done, needs nulls= and spaces=", "onset: not done, needs curves=")
    assert quick(found) == {"causal", "settle", "leaderboard"}
    assert collect_evidence(subject, CONFIG.evidence).notes == ()


def test_a_step_of_ones_own_is_one_line(subject):
    rows = Step("rows", ("split",), lambda subject, _options: Findings({"rows": (float(len(subject.labels)), "count")}))
    heard: list[tuple[str, int, int]] = []
    found = collect_evidence(subject, CONFIG.evidence, steps=[rows], progress=lambda *step: heard.append(step))
    assert found.figures == {"rows": 25.0}
    assert heard == [("seed 0: evidence", 0, 1), ("seed 0: evidence", 1, 1)]


@pytest.mark.parametrize(("steps", "kind"), [(EVIDENCE_STEPS, TrainedNetwork), (MODEL_STEPS, Case)])
def test_every_need_is_an_attribute_of_what_is_analysed(steps, kind):
    names = kind.__dataclass_fields__.keys() | vars(kind).keys()
    assert {name for step in steps for name in step.needs} <= names


def test_none_and_what_is_empty_are_absent():
    step = Step("s", ("value",), lambda _: Findings())

    def lacks(value):
        return step.lacks(SimpleNamespace(value=value))

    assert all(lacks(value) == ("value",) for value in (None, {}, (), torch.zeros(0)))
    assert all(lacks(value) == () for value in ({"a": None}, torch.zeros(2), "*.pt", 0, len))
    held = SimpleNamespace(value=None)
    assert possible([step], held) == []
    assert left_out([step], held) == ("s: not done, needs value=",)
