"""A run on a tiny model from end to end."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score

pytest.importorskip("transformers", reason="the extra `language` is not installed")
pytest.importorskip("spacy", reason="the extra `language` is not installed")

from tangentlens.language.model import language_model
from tangentlens.language.sweep.refinement import refine
from tangentlens.language.sweep.sweep import sweep
from tangentlens.statistics.corrections import holm
from tests.support.language_run import config, finished


def test_a_run_holds_what_it_says(stored):
    L, k, N, T, e = 2, 5, 48, 12, 4
    (record,) = stored.seeds
    labels = record.words["labels.names"]
    assert labels[:3] == ("NOUN", "VERB", "PUNCT")
    shapes = {
        "values": (L, k), "residuals": (L, k), "converged": (L, k), "share": (L, k), "scores": (L, N, k),
        "directions": (L, k, 24), "raised.tokens": (L, k, 3), "lowered.logits": (L, k, 3), "examples": (L, k, e),
        "examples.shares": (L, k, e, T), "auroc": (L, k, len(labels)), "sign": (L, k, len(labels)),
        **dict.fromkeys(("auroc.low", "auroc.high", "p"), (L, k, len(labels))),
        "layer": (len(labels),), "mode": (len(labels),), "chosen.mode": (L, len(labels)),
        "chosen.sign": (L, len(labels)),
    }  # fmt: skip
    for geometry in ("raw", "fisher"):
        for name, shape in shapes.items():
            assert record.array(f"{geometry}.{name}").shape == shape, name
    assert record.array("pca.scores").shape == (2, N, k)
    assert record.array("windows.input_ids").shape == (N, T)
    assert len(record.words["tokens.text"]) == len(record.array("tokens.ids"))
    assert record.words["groups"] == tuple(f"model.layers.{i}.mlp.down_proj.weight" for i in range(2))


def test_token_shares_add_up_to_the_scores(stored):
    (record,) = stored.seeds
    shares, shown = record.array("raw.examples.shares"), record.array("raw.examples")
    scores = np.take_along_axis(record.array("raw.scores").transpose(0, 2, 1), shown, axis=2)
    converged = record.array("raw.converged").astype(bool)
    assert converged.any()
    assert np.allclose(shares.sum(3)[converged], scores[converged], atol=0.06 * abs(scores).max())
    assert (np.diff(scores[..., :2], axis=2) <= 0).all()
    assert (np.diff(scores[..., 2:], axis=2) >= 0).all()


def test_the_figures_are_those_of_the_scores(stored):
    """By hand: mode, sign and layer by average precision on the train half, AUROC on the other."""
    (record,) = stored.seeds
    train = record.array("labels.train")[:, 0].astype(bool)
    for method, prefix in (("entk", "raw"), ("pca", "pca"), ("entk_fisher", "fisher")):
        scores = record.array(f"{prefix}.scores")
        found = []
        for name, family in zip(record.words["labels.names"], record.words["labels.family"], strict=True):
            y = record.array("labels.matrix")[:, record.words["labels.names"].index(name)].astype(bool)
            candidates = [
                (round(average_precision_score(y[train], sign * scores[layer, train, mode]), 10), -layer, -mode, sign)
                for layer in range(2) for mode in range(5) for sign in (1, -1)
            ]  # fmt: skip
            _, layer, mode, sign = max(candidates)
            held_out = roc_auc_score(y[~train], sign * scores[-layer, ~train, -mode])
            kind = {"pos": "pos", "morphology": "morph"}[family]
            assert stored.figures[f"auroc.{kind}.label.{name}.{method}"].value == pytest.approx(held_out)
            found += [held_out] if kind == "pos" else []
        assert stored.figures[f"auroc.pos.macro.{method}"].value == pytest.approx(np.mean(found))


def test_figures_at_a_named_block_are_those_of_its_layer(stored):
    (record,) = stored.seeds
    auroc, sign, mode = (record.array(f"raw.{name}") for name in ("auroc", "sign", "chosen.mode"))
    chosen = record.array("raw.chosen.sign")
    assert record.words["blocks"][1] in record.words["groups"][1]
    values = [
        auroc[1, mode[1, label], label]
        if chosen[1, label] == sign[1, mode[1, label], label]
        else 1 - auroc[1, mode[1, label], label]
        for label in range(3)
    ]
    assert stored.figures["auroc.pos.macro.second_block.entk"].value == pytest.approx(np.mean(values), abs=1e-6)


def test_every_mode_is_evaluated_on_the_test_half_with_the_sign_of_the_train_half(stored):
    (record,) = stored.seeds
    labels, train = record.array("labels.matrix").astype(bool), record.array("labels.train")[:, 0].astype(bool)
    for prefix in ("raw", "fisher", "pca"):
        scores = record.array(f"{prefix}.scores")
        value, low, high, p, sign = (
            record.array(f"{prefix}.{name}") for name in ("auroc", "auroc.low", "auroc.high", "p", "sign")
        )
        uncorrected = np.empty_like(p)
        for layer, mode, label in np.ndindex(p.shape):
            x, y = sign[layer, mode, label] * scores[layer, :, mode], labels[:, label]
            assert roc_auc_score(y[train], x[train]) >= 0.5
            assert value[layer, mode, label] == pytest.approx(roc_auc_score(y[~train], x[~train]), abs=1e-6)
            test = mannwhitneyu(x[~train & y], x[~train & ~y], alternative="greater", method="asymptotic")
            uncorrected[layer, mode, label] = test.pvalue
        assert ((low <= value) & (value <= high) & (low < high)).all()
        assert p == pytest.approx(holm(torch.from_numpy(uncorrected)).numpy(), rel=1e-4)


def test_intervals_hold_their_values_and_leads_are_differences(stored):
    figures = stored.figures
    for key in ("auroc.pos.macro.entk", "auroc.pos.macro.pca", "average_precision.pos.macro.entk_fisher"):
        low, high = figures[key].interval
        assert low <= figures[key].value <= high
        assert low < high or figures[key].value == 1
    lead = figures["auroc.pos.macro.lead.entk"]
    assert lead.value == pytest.approx(figures["auroc.pos.macro.entk"].value - figures["auroc.pos.macro.pca"].value)
    assert lead.interval is not None


def test_halves_share_no_story(stored):
    (record,) = stored.seeds
    train, story = record.array("labels.train")[:, 0].astype(bool), record.array("windows.story")
    assert not set(story[train]) & set(story[~train])
    for column in record.array("labels.matrix")[:, :3].T.astype(bool):
        assert abs(int(column[train].sum()) - int(column[~train].sum())) <= 6


def test_the_best_choice_is_made_without_the_test_half(stored):
    figures = stored.figures
    validation = {key: f.value for key, f in figures.items() if key.startswith(("choice.raw", "choice.f"))}
    validation = {key: value for key, value in validation.items() if key.endswith(".validation")}
    best = max(validation, key=lambda key: validation[key])
    assert figures["choice.best.validation"].value == validation[best]
    tests = [figures[key.replace("validation", "test")].value for key, v in validation.items() if v == validation[best]]
    assert figures["choice.best.test"].value in tests


def test_an_interrupted_run_keeps_windows_and_finished_blocks(place, monkeypatch):
    settings = config(place, geometries=("raw",))
    target = place / "interrupted"

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(stage: str, done: int, _total: int) -> None:
        if stage == "raw: sweep" and done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        finished(settings, target, evidence=False, progress=stop)
    shared = place / "interrupted.partial" / "shared" / "seed-0000"
    assert (shared / "windows.safetensors").exists()
    assert json.loads((shared / "sweep-raw" / "state.json").read_text())["done"] == 1
    stages = []
    with monkeypatch.context() as patch:
        patch.setattr("tangentlens.language.analysis.windows.build_windows", None)  # it would fail if it were called
        again = finished(settings, target, resume=True, evidence=False, progress=lambda *a: stages.append(a))
    assert not any(stage.endswith("pilot") for stage, _, _ in stages)
    whole = finished(settings, place / "whole", evidence=False)
    for key, figure in whole.figures.items():
        if not key.endswith("seconds"):
            assert again.figures[key].value == figure.value, key
    assert not (target / "shared").exists()


def test_modes_are_those_of_the_sweep(place, stored):
    (record,) = stored.seeds
    lm = language_model(place / "model")
    batch = {"input_ids": torch.from_numpy(record.array("windows.input_ids"))}
    name = "model.layers.0.mlp.down_proj.weight"
    swept = sweep(lm, batch, groups=[name], geometry="raw", directions=6, modes=5, pilot_windows=6)
    exact = refine(lm, batch, name, swept, steps=None, tolerance=1e-5).pairs
    assert np.allclose(record.array("raw.values")[0, 0], float(exact.values[0]), rtol=0.1)
