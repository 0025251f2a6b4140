"""The language-model setting from end to end, on a tiny model that writes to a folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score

pytest.importorskip("transformers", reason="the extra `language` is not installed")
pytest.importorskip("spacy", reason="the extra `language` is not installed")

from tangentlens.config import config_text, parse_config
from tangentlens.controls.interventions.edits import without_directions
from tangentlens.errors import InvalidInputError
from tangentlens.language.analysis.examined import examined
from tangentlens.language.analysis.last_token import last_tokens
from tangentlens.language.analysis.method import scored
from tangentlens.language.analysis.story_bootstrap import intervals
from tangentlens.language.analysis.task import Task
from tangentlens.language.analysis.tokens import moved_tokens
from tangentlens.language.model import language_model
from tangentlens.language.sweep.fisher import logit_geometry
from tangentlens.language.sweep.refinement import refine
from tangentlens.language.sweep.sweep import sweep
from tangentlens.paper.gemma.config import Config
from tangentlens.pipeline import add_evidence, run
from tangentlens.statistics.corrections import holm
from tangentlens.store import open_run
from tangentlens.store.arrays import read_measurement
from tests.support import language_cases as cases


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny model, its tokenizer and stories that it has learned to go on with."""
    folder = tmp_path_factory.mktemp("language")
    cases.write_model(folder)
    return folder


def config(place: Path, **kernel) -> Config:
    return Config.model_validate(
        {
            "model": {"name": str(place / "model")},
            "text": {"source": "file", "file": str(place / "stories.txt")},
            "windows": {"count": 48, "pos": ("NOUN", "VERB", "PUNCT"), "length": 12, "per_story": 3},
            "labels": {"support": 8, "distinct": 2, "largest_share": 0.95},
            "kernel": {"modes": 5, "directions": 6, "geometries": ("raw", "fisher"), "pilot_windows": 6} | kernel,
            "scoring": {"resamples": 60, "permutations": 20, "examples": 4, "tokens": 3},
        }
    )


@pytest.fixture(scope="module")
def stored(place):
    return open_run(run(config(place), place / "run", evidence=False))


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


def test_every_mode_is_judged_on_the_test_half_with_the_sign_of_the_train_half(stored):
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
        run(settings, target, evidence=False, progress=stop)
    shared = place / "interrupted.partial" / "shared" / "seed-0000"
    assert (shared / "windows.safetensors").exists()
    assert json.loads((shared / "sweep-raw" / "state.json").read_text())["done"] == 1
    stages = []
    with monkeypatch.context() as patch:
        patch.setattr("tangentlens.language.analysis.windows.build_windows", None)  # it would fail if it were called
        again = open_run(run(settings, target, resume=True, evidence=False, progress=lambda *a: stages.append(a)))
    assert not any(stage.endswith("pilot") for stage, _, _ in stages)
    whole = open_run(run(settings, place / "whole", evidence=False))
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


def test_evidence_is_added_from_what_the_run_holds(place, stored):
    target = place / "examined"
    shutil.copytree(stored.folder, target)
    figures = open_run(add_evidence(target)).figures
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
    settings = parse_config(stored.config_text)
    new, old = (examined(settings, each) for each in (measured, replace(measured, arrays=arrays)))
    for name, choice in new.choices.items():
        for part in ("layer", "mode", "sign"):
            assert torch.equal(getattr(choice, part), getattr(old.choices[name], part))


def test_evidence_speaks_of_the_geometries_that_a_run_has(place):
    figures = open_run(run(config(place, geometries=("fisher",)), place / "fisher alone")).figures
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": {"count": 50}}, "multiple of the 8"),
        ({"text": {"source": "file"}}, "text.file goes with"),
        ({"kernel": {"geometries": ["raw", "raw"]}}, "names one twice"),
    ],
)
def test_configs_that_cannot_be_meant_are_refused(change, message):
    text = tomli_w.dumps({"setting": "gemma", **change})
    with pytest.raises(InvalidInputError, match=message):
        parse_config(text)


def test_the_config_survives_being_written():
    assert parse_config(config_text(Config())) == Config()


def test_scores_that_know_nothing_lead_nowhere():
    """Gaussian scores: every interval of the lead covers zero most of the time."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(160)[:, None] % 4 == torch.arange(4)
    covered = 0
    for _ in range(10):
        scores = torch.randn(2, 160, 3, 5, generator=generator, dtype=torch.float64)
        train = torch.randperm(160, generator=generator) < 80
        task = Task(tuple("abcd"), ("pos",) * 4, labels, train, torch.arange(160))
        methods = [scored("entk", scores[0], task), scored("pca", scores[1], task)]
        _, spreads = intervals(methods, "pca", task, resamples=200, seed=0)
        low, high = spreads["auroc.pos.macro.lead.entk"]
        covered += low <= 0 <= high
    assert covered >= 8


def test_too_few_windows_have_figures_without_intervals():
    """With two windows of a label in a half, some resample of them has none."""
    labels = torch.arange(16)[:, None] % 4 == torch.arange(4)
    train = torch.arange(16) < 8
    scores = torch.randn(2, 16, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    task = Task(tuple("abcd"), ("pos",) * 4, labels, train, torch.arange(16))
    methods = [scored("entk", scores[0], task), scored("pca", scores[1], task)]
    figures, spreads = intervals(methods, "pca", task, resamples=200, seed=0)
    own, other = (float(method.chosen.auroc.mean()) for method in methods)
    assert figures["auroc.pos.macro.lead.entk"][0] == pytest.approx(own - other)
    assert spreads == {}


def test_moved_tokens_are_told_apart_from_a_shift_of_all(stored):
    (record,) = stored.seeds
    assert (record.array("raw.raised.logits") > 0).all()
    assert (record.array("raw.lowered.logits") < 0).all()
    assert (np.diff(record.array("raw.raised.logits"), axis=2) <= 0).all()


@pytest.mark.parametrize("name", ["raw", "fisher"])
def test_moved_tokens_are_those_of_every_mode_at_its_own_window(place, name):
    lm = language_model(str(place / "model"))
    ids = torch.randint(len(lm.unembedding), (5, 12), generator=torch.Generator().manual_seed(0))
    directions = torch.randn(3, 4, lm.d_model, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    strongest = torch.tensor([[0, 3, 3, 1], [1, 1, 4, 0], [3, 0, 1, 4]])
    found = moved_tokens(lm, logit_geometry(lm.head, name), directions, strongest, {"input_ids": ids}, 6)
    with torch.no_grad():
        states = lm.final_hidden({"input_ids": ids})[:, -1]
    for layer, mode in np.ndindex(3, 4):
        vector, state = directions[layer, mode, :, None], states[strongest[layer, mode]]
        logits = logit_geometry(lm.head, name).logit_directions(vector, state)[:, 0]
        order = logits.argsort()
        assert found["raised.tokens"][layer, mode].tolist() == order.flip(0)[:6].tolist()
        assert found["lowered.tokens"][layer, mode].tolist() == order[:6].tolist()
        torch.testing.assert_close(found["lowered.logits"][layer, mode], (logits - logits.mean())[order[:6]].float())
