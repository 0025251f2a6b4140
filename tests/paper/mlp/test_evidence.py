"""Evidence on a tiny MLP: every figure that a claim needs is there, and it comes from the stored arrays alone."""

import math

import pytest
import torch

from tangentlens.paper import SETTINGS
from tangentlens.paper.mlp import evidence as mlp_evidence
from tangentlens.paper.mlp import measure as mlp
from tangentlens.paper.mlp.claims import CLAIMS

CONFIG = mlp.Config.model_validate(
    {
        "seeds": [1],
        "data": {"p": 7},
        "model": {"width": 32},
        "training": {"epochs": 60, "measure_every": 10, "learning_rate": 0.05},
        "evidence": {"random_curves": 6, "random_subspaces": 2, "null_draws": 40, "directions": 2, "doses": [0.1, 1.0]},
    }
)


@pytest.fixture(scope="module")
def measured():
    return mlp.measure(CONFIG, 1)


@pytest.fixture(scope="module")
def found(measured):
    return mlp_evidence.evidence(CONFIG, measured)


def test_every_claim_has_its_numbers(measured, found):
    keys = measured.figures.keys() | found.figures.keys()
    for claim in CLAIMS:
        assert claim.metric in keys, claim.name
        assert not isinstance(claim.null, str) or claim.null in keys, claim.name
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert SETTINGS["mlp"].claims == CLAIMS


def test_the_same_arrays_give_the_same_evidence(measured, found):
    again = mlp_evidence.evidence(CONFIG, measured)
    for key, value in found.figures.items():
        if found.units[key] != "seconds":
            assert again.figures[key] == value or math.isnan(value), key
    assert found.arrays.keys() == again.arrays.keys()


def test_ablating_nothing_changes_nothing_and_everything_leaves_chance(measured, found):
    sizes = found.arrays["ablation.size"]
    curve = found.arrays["ablation.functions.entk.accuracy"]
    assert (int(sizes[0]), float(curve[0])) == (0, pytest.approx(measured.figures["test.accuracy.final"]))
    assert len(curve) == len(sizes)


def test_nulls_are_what_they_are_called(measured, found):
    untrained = float(measured.arrays["overlap.sum"][0])
    assert found.figures["null.untrained.overlap.sum.percent"] == pytest.approx(untrained)
    assert found.figures["null.random_subspace.overlap.sum.percent"] == pytest.approx(100 * 12 / 49)
    assert measured.arrays["overlap.null"].shape == (7, 6)
    mean = float(measured.arrays["overlap.null"].mean())
    assert mean == pytest.approx(100 * 12 / 49, rel=0.15)


def test_what_measure_stores_rebuilds_the_network(measured):
    subject = mlp_evidence.trained_network(CONFIG, measured)
    right = subject.model(subject.inputs).argmax(dim=1) == subject.labels
    assert 100 * float(right[subject.split.test].double().mean()) == pytest.approx(
        measured.figures["test.accuracy.final"]
    )
    gram = subject.modes.ordered.T @ subject.modes.ordered
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-5, rtol=0)
