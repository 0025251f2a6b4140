"""Facts about windows, halves of texts and the total of all groups, beside plain loops."""

import math

import pytest
import torch

import tangentlens as tl
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.language.text_analysis.case import TextOptions, reinitialised, text_case
from tangentlens.language.text_analysis.facts import window_facts
from tangentlens.language.text_analysis.kernels import principal_functions
from tangentlens.language.windows.cut_rules import CutRules
from tangentlens.language.windows.cutting import cut_windows
from tangentlens.language.windows.text_labels import read_labels
from tangentlens.language.windows.texts import read_texts
from tests.support.language_cases import byte_level_tokenizer, story, tiny_llama

TEXTS = [f'Ada said: "{story(seed)[:20]}' if seed % 3 else story(seed)[: 25 + seed] for seed in range(38)]
TEXTS += ['Ada said: "Yes"', 'Ben hid "it']


@pytest.fixture(scope="module")
def case():
    tokenizer = byte_level_tokenizer()
    lm = tl.language_model(tiny_llama(len(tokenizer)), tokenizer=tokenizer)
    texts = read_texts(TEXTS)
    labels = read_labels({"said": [text.startswith("Ada said") for text in TEXTS]}, texts)
    windows = cut_windows(texts, tokenizer, CutRules(at="end", length=16, count=60), labels=labels)
    return text_case(lm, windows, TextOptions(modes=3))


def test_facts_are_those_of_a_loop_over_the_windows(case):
    facts = {fact.name: fact for fact in window_facts(case)}
    windows = case.windows
    for row, text in enumerate(windows.text):
        tokens = [one for one, there in zip(windows.token_text[row], windows.attention_mask[row], strict=True) if there]
        if "ends inside quotation marks" in facts:  # a fact that repeats a label is left out
            assert facts["ends inside quotation marks"].values[row] == (text.count('"') % 2)
        if "tokens" in facts:
            assert facts["tokens"].values[row] == len(tokens)
        for name, fact in facts.items():
            if name.startswith("ends in '"):
                assert fact.values[row] == (repr(tokens[-1]) == name.removeprefix("ends in "))
    assert {fact.source for fact in facts.values()} >= {"feature", "text", "model"}


def test_confidence_is_that_of_each_window_alone(case):
    facts = {fact.name: fact for fact in window_facts(case)}
    for row in range(0, case.count, 7):
        ids = case.windows.input_ids[row][case.windows.attention_mask[row].bool()][None]
        with torch.no_grad():
            p = case.lm.model(input_ids=ids).logits[0, -1].double().softmax(0)
        entropy = float(-(p * p.log()).sum())
        assert float(facts["entropy of the model's next token"].values[row]) == pytest.approx(entropy, rel=1e-3)
        assert float(facts["probability of its likeliest token"].values[row]) == pytest.approx(float(p.max()), rel=1e-3)


def test_halves_part_no_text_and_share_the_labels(case):
    texts = case.windows.text_index
    assert not set(texts[case.halves.train].tolist()) & set(texts[case.halves.test].tolist())
    said = case.by_name["said"].values[:, 0]
    shares = [float(said[rows].mean()) for rows in (case.halves.train, case.halves.test)]
    assert abs(shares[0] - shares[1]) < 0.15


def test_the_total_is_the_sum_of_what_the_scores_hold():
    g = torch.Generator().manual_seed(0)

    groups = {}
    whole = torch.zeros(20, 20, dtype=torch.float64)
    for name, k in (("a", 3), ("b", 4)):
        S, values = (torch.rand(*shape, generator=g, dtype=torch.float64) - 0.1 for shape in ((20, k), (k,)))
        values = values.abs()
        groups[name] = GroupModes(name, values, S, torch.zeros(k), k, math.nan)
        whole += S @ values.diag() @ S.T
    modes = principal_functions(groups, 5)
    values, vectors = torch.linalg.eigh(whole)
    assert torch.allclose(modes.values, values.flip(0)[:5])
    assert torch.allclose((vectors.flip(1)[:, :5] * modes.vectors).sum(dim=0).abs(), torch.ones(5, dtype=torch.float64))
    assert all(math.isnan(each) for each in modes.residuals.tolist())


def test_a_reinitialised_model_is_another_one_of_the_same_shape(case):
    before = {name: value.clone() for name, value in case.lm.model.state_dict().items()}
    fresh = reinitialised(case.lm, 1)
    assert all(torch.equal(before[name], value) for name, value in case.lm.model.state_dict().items())
    assert {n: p.shape for n, p in fresh.named_parameters()} == {
        n: p.shape for n, p in case.lm.model.named_parameters()
    }
    weight = "model.layers.0.mlp.down_proj.weight"
    assert not torch.allclose(dict(fresh.named_parameters())[weight], before[weight])
    assert torch.equal(
        dict(fresh.named_parameters())[weight], dict(reinitialised(case.lm, 1).named_parameters())[weight]
    )
