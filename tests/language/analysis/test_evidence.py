"""Evidence on a run of a tiny model."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="the extra `language` is not installed")
pytest.importorskip("spacy", reason="the extra `language` is not installed")

from tangentlens.config import parse_config
from tangentlens.controls.interventions.edits import without_directions
from tangentlens.language.analysis.examined import examined
from tangentlens.language.analysis.last_token import last_tokens
from tangentlens.language.model import language_model
from tangentlens.store.arrays import read_measurement
from tests.support.language_run import SETTINGS, config, finished, with_evidence


def test_evidence_is_added_from_what_the_run_holds(place, stored):
    target = place / "examined"
    shutil.copytree(stored.folder, target)
    figures = with_evidence(target).figures
    assert set(stored.figures) < set(figures)
    for name in ("entk", "entk_fisher", "pca"):
        assert 1 / 21 <= figures[f"p_family.pos.label.NOUN.{name}"].value <= 1
        assert figures[f"p.pos.label.NOUN.{name}"].value <= figures[f"p_family.pos.label.NOUN.{name}"].value
    assert 0 < figures["p_lead.auroc.pos.macro.entk"].value <= 1
    for name in ("entk", "pca", "random"):
        selective = [
            figures[f"causal.language.ablate.{label}.{name}.own"].value
            - figures[f"causal.language.ablate.{label}.{name}.other"].value
            for label in ("NOUN", "VERB", "PUNCT")
        ]
        assert figures[f"causal.language.ablate.macro.{name}.selectivity"].value == pytest.approx(np.mean(selective))


def test_evidence_without_the_stored_choice_is_the_same(stored):
    measured = read_measurement(stored.seeds[0].sources["raw.scores"])
    arrays = {name: array for name, array in measured.arrays.items() if ".chosen." not in name}
    settings = parse_config(stored.config_text, settings=SETTINGS)
    new, old = (examined(settings, each) for each in (measured, replace(measured, arrays=arrays)))
    for name, choice in new.choices.items():
        for part in ("layer", "mode", "sign"):
            assert torch.equal(getattr(choice, part), getattr(old.choices[name], part))


def test_evidence_speaks_of_the_geometries_that_a_run_has(place):
    figures = finished(config(place, geometries=("fisher",)), place / "fisher alone").figures
    for control in ("other_words", "random", "pca"):
        assert f"causal.language.ablate.macro.entk_fisher.over_{control}" in figures
        assert 0 < figures[f"p_ablate.entk_fisher.over_{control}"].value <= 1
    assert not any(".entk." in key and ".macro." in key for key in figures)


def test_an_ablated_direction_that_carries_the_word_lowers_its_probability(place, stored):
    """The whole span of the residual stream gone: nothing is left to tell the words apart."""
    (record,) = stored.seeds
    lm = language_model(place / "model")
    cached = last_tokens(lm, {"input_ids": torch.from_numpy(record.array("windows.input_ids"))})
    before = cached.log_probabilities()
    words = before.argmax(dim=1, keepdim=True)
    mean = torch.zeros(lm.d_model)
    gone = cached.log_probabilities(1, without_directions(torch.eye(lm.d_model), mean))
    assert float(gone.gather(1, words).exp().mean()) < float(before.gather(1, words).exp().mean()) - 0.1
    assert torch.allclose(gone, gone[:1].expand_as(gone), atol=1e-5)
