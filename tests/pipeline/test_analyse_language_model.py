"""One call from a language model and a text to a page: its numbers, its words, its errors."""

import json
import re
from pathlib import Path

import pandas
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from typer.testing import CliRunner

import tangentlens as tl
from tangentlens.cli import app
from tests.support.language_cases import NAMES, byte_level_tokenizer, story, tiny_llama, trained
from tests.support.language_families import tiny

QUIET = {"progress": False, "permutations": 99}


def prefixes(count):
    """Beginnings of stories, of different lengths."""
    return [story(seed)[: 30 + 7 * (seed % 12)] for seed in range(count)]


TEXTS = prefixes(72)
LABELS = {
    "who": [text.split()[0] for text in TEXTS],
    "boat": re.compile("boat"),
    "length": [float(len(text)) if place % 9 else None for place, text in enumerate(TEXTS)],
}


@pytest.fixture(scope="module")
def model():
    tokenizer = byte_level_tokenizer()
    return tl.language_model(trained(tiny_llama(len(tokenizer)), tokenizer), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "labelled"
    return tl.analyse_language_model(model, TEXTS, labels=LABELS, length=20, windows=64, modes=6, out=out, **QUIET)


def test_the_table_has_a_row_for_every_label_and_group(run):
    table = run.table("alignment")
    features = {f"who = {name}" for name in NAMES} | {"who", "boat", "length"}
    groups = {"total", "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"}
    assert set(table["feature"]) == features
    assert {*zip(table["feature"], table["group"], strict=True)} == {(f, g) for f in features for g in groups}
    assert set(table["verdict_used"]) == {"not done"}
    assert set(table["verdict_aligned"]) | set(table["verdict_learned"]) <= {"holds", "does not hold", "undecided"}


def test_scores_are_those_of_scikit_learn_on_the_texts_that_chose_nothing(run):
    record = run.stored.seeds[0]
    train = record.array("labels.train")[:, 0].astype(bool)
    names = record.words["labels.names"]
    matrix = record.array("labels.matrix").astype(bool)
    rows = run.table("alignment").query("metric == 'auroc'")
    assert len(rows) == 3 * len(names)
    for row in rows.itertuples():
        scores = record.array(f"kernel.{row.group}.vectors")
        label = matrix[:, names.index(row.feature)]
        above = [roc_auc_score(label[train], column[train]) - 0.5 for column in scores.T]
        assert abs(above[row.mode]) == pytest.approx(max(map(abs, above)))
        assert row.sign == (1 if above[row.mode] >= 0 else -1)
        assert row.score == pytest.approx(roc_auc_score(label[~train], row.sign * scores[~train, row.mode]))


def test_windows_of_one_text_stay_in_one_half(model, tmp_path):
    texts = [story(seed, sentences=8) for seed in range(12)]
    run = tl.analyse_language_model(
        model, texts, at=7, windows=48, length=10, modes=4, untrained=None, out=tmp_path / "r", **QUIET
    )
    record = run.stored.seeds[0]
    assert len(record.array("windows.story")) == 48
    assert "alignment" not in run.tables
    assert any("needs labels=" in note for note in record.notes)
    assert set(run.table("modes")["group"]) >= {"total"}
    assert len(run.table("modes")) == 12


def test_scores_are_the_modes_of_the_kernel_of_all_logits(tmp_path):
    """Raw geometry with every direction is exact: its modes are those of J J^T, formed here logit by logit."""
    tokenizer = byte_level_tokenizer()
    model = tiny_llama(len(tokenizer)).double()
    lm = tl.language_model(model, tokenizer=tokenizer)
    name = "model.layers.1.mlp.down_proj.weight"
    run = tl.analyse_language_model(
        lm, [text[:24] for text in TEXTS[:16]], at="end", length=8, groups=[name], geometry="raw", modes=3,
        untrained=None, out=tmp_path / "r", **QUIET,
    )  # fmt: skip
    record = run.stored.seeds[0]
    weight = dict(model.named_parameters())[name]
    blocks = []
    for row, mask in zip(record.array("windows.input_ids"), record.array("windows.attention_mask"), strict=True):
        ids = torch.from_numpy(row[mask.astype(bool)])[None]
        logits = model(input_ids=ids).logits[0, -1]
        every = torch.eye(len(logits), dtype=torch.float64)
        (found,) = torch.autograd.grad(logits, weight, every, is_grads_batched=True)
        blocks.append(found.flatten(1))
    J = torch.stack(blocks)  # (N, V, P)
    _, sizes, Vh = torch.linalg.svd(J.flatten(0, 1), full_matrices=False)
    assert torch.allclose(torch.from_numpy(record.array("kernel.total.values")), sizes[:3].square(), rtol=1e-4)
    for mode in range(3):
        v = (J @ Vh[mode]) / sizes[mode]  # (N, V)
        U, s, _ = torch.linalg.svd(v, full_matrices=False)
        scores = U[:, 0] * s[0]
        stored = torch.from_numpy(record.array("kernel.total.vectors")[:, mode]).double()
        assert abs(float(scores @ stored)) / float(scores.norm() * stored.norm()) == pytest.approx(1, abs=1e-3)
        assert float(stored.norm()) == pytest.approx(float(s[0]), rel=1e-3)


def test_cards_show_texts_and_what_a_mode_goes_with(run):
    card = run.card(1, group="model.layers.1.mlp.down_proj.weight")
    assert len(card.scores) == 64
    assert card.highest[0].score == card.scores.max()
    assert any(card.highest[0].shown.endswith(text[-5:]) for text in TEXTS)
    page = run.report.read_text("utf-8")
    assert "Ada" in page
    assert "TinyStories" not in page
    assert "part of speech" not in page.partition("<script")[0]


def test_the_same_windows_serve_another_model(run, tmp_path):
    tokenizer = byte_level_tokenizer()
    other = tl.language_model(tiny_llama(len(tokenizer), seed=5), tokenizer=tokenizer)
    again = tl.analyse_language_model(
        other, windows=run.stored.folder, modes=4, untrained=None, out=tmp_path / "other", **QUIET
    )
    ids = [each.stored.seeds[0].array("windows.input_ids") for each in (run, again)]
    assert (ids[0] == ids[1]).all()
    assert set(again.table("alignment")["feature"]) == set(run.table("alignment")["feature"])


def test_an_interrupted_analysis_goes_on(model, tmp_path):
    given = {"labels": LABELS, "length": 12, "windows": 32, "modes": 3, "untrained": None, "permutations": 99}

    def stop(stage, _done, _total):
        if stage == "discovery":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tl.analyse_language_model(model, TEXTS, **given, progress=stop, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    stages = []
    run = tl.analyse_language_model(
        model, TEXTS, **given, progress=lambda *seen: stages.append(seen[0]), resume=True, out=tmp_path / "r"
    )
    assert "baselines" not in stages
    fresh = tl.analyse_language_model(model, TEXTS, **given, progress=False, out=tmp_path / "fresh")
    assert run.table("alignment").equals(fresh.table("alignment"))


FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "gemma2", "phi", "falcon", "olmo2", "stablelm")


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_families_take_one_call(family, tmp_path):
    tokenizer = byte_level_tokenizer()
    wrapped = tl.language_model(tiny(family, vocab_size=len(tokenizer)), tokenizer=tokenizer)
    labels, sizes = {"boat": re.compile("boat")}, {"length": 8, "modes": 3, "groups": "weights", "geometry": "centred"}
    run = tl.analyse_language_model(
        wrapped, TEXTS[:24], labels=labels, **sizes, untrained=None, out=tmp_path / "r", **QUIET
    )
    page = run.report.read_text("utf-8")
    assert type(wrapped.model).__name__ in page
    assert set(run.table("alignment")["feature"]) == {"boat"}


WRONG = {
    "model": ({"model": nn.Linear(2, 2)}, {"model": Path("no/such/folder")}),
    "text": ({"text": None}, {"text": "no/such/file.txt"}, {"text": []}),
    "labels": ({"labels": {"who": ["a"]}}, {"labels": "no/such/file.jsonl"}, {"labels": {"who": "("}}),
    "tagger": ({"tagger": "no_such_pipeline"}, {"tagger": "stanza:xx"}),
    "windows": ({"windows": 0}, {"windows": "no/such/run"}, {"windows": -1}),
    "length": ({"length": 0}, {"length": -3}),
    "at": ({"at": "start"}, {"at": 0}, {"at": "word"}),
    "bos": ({"bos": True},),
    "template": ({"template": True}, {"template": "{{"}),
    "groups": ({"groups": "attention"}, {"groups": ["*.nothing"]}),
    "geometry": ({"geometry": "euclidean"}, {"geometry": ""}),
    "modes": ({"modes": 1}, {"modes": 0}),
    "untrained": ({"untrained": 3}, {"untrained": "no/such/folder"}),
    "seed": ({"seed": -1}, {"seed": -7}),
    "permutations": ({"permutations": 0}, {"permutations": -4}),
    "mark": ({"at": "marked", "mark": ""}, {"at": "marked", "mark": "#"}),
}


@pytest.mark.parametrize("case", [(name, i) for name, wrong in WRONG.items() for i in range(len(wrong))], ids=str)
def test_wrong_arguments_are_named_and_nothing_is_written(model, tmp_path, case):
    name, place = case
    given = {"model": model, "text": TEXTS, "windows": 32, "out": tmp_path / "r", **QUIET, **WRONG[name][place]}
    with pytest.raises(tl.TangentlensError) as caught:
        tl.analyse_language_model(given.pop("model"), given.pop("text"), **given)
    assert caught.value.what
    assert caught.value.where or caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_the_command_line_and_its_replay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_level_tokenizer()
    trained(tiny_llama(len(tokenizer)), tokenizer).save_pretrained("model")
    tokenizer.save_pretrained("model")
    rows = [{"text": text, "who": text.split()[0], "boat": "boat" in text} for text in TEXTS]
    (tmp_path / "prefixes.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    words = ["language", "model", "--text", "prefixes.jsonl", "--label", "who", "--label", "boat", "--windows", "40",
             "--length", "12", "--modes", "3", "--untrained", "none", "--out", "first", "--quiet"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "first/report.html" in done.output
    again = CliRunner().invoke(app, ["run", "first/config.toml", "--out", "second", "--quiet"])
    assert again.exit_code == 0, again.output
    first, second = (tl.open_run(tmp_path / name) for name in ("first", "second"))
    pandas.testing.assert_frame_equal(first.table("alignment"), second.table("alignment"))
    assert {"boat", "who"} < set(first.table("alignment")["feature"])
    wrong = CliRunner().invoke(app, [*words[:-3], "third", "--label", "nothing"])
    assert wrong.exit_code == 2
    assert not (tmp_path / "third").exists()


def test_a_run_that_no_file_replays_says_so(run):
    done = CliRunner().invoke(app, ["run", str(run.stored.folder / "config.toml")])
    assert done.exit_code == 2
    assert "with model, text, labels that" in done.output
