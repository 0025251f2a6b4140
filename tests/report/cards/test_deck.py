"""The data of the cards says what the run says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tangentlens.records import Measurement
from tangentlens.report.cards.build import build_deck, causal_effect, kept_examples
from tangentlens.report.cards.deck import Deck, deck_json
from tangentlens.report.cards.packed import unpack
from tangentlens.report.language_run import LanguageRun, language_run, short_layers, without_texts
from tangentlens.store import open_run
from tests.support.synthetic_language_run import language_measurement, store_language_run, with_arrays, with_words

HOSTILE = (
    "</script><script>window.pwned=1</script>", "<img src=x onerror='window.pwned=1'>", "\u202egnp.exe\u200f",
    "a\x00b\x1b", "\ud800", "x" * 10_000, "<!--", "&lt;b&gt;", "{{ 7 * 7 }}", "\u2028",
)  # fmt: skip


def read(folder, measurement: Measurement | None = None) -> LanguageRun:
    run = language_run(open_run(store_language_run(folder, measurement)))
    assert run is not None
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> LanguageRun:
    return read(tmp_path_factory.mktemp("deck") / "run")


@pytest.fixture(scope="module")
def deck(run) -> Deck:
    return build_deck(run, "raw")


def test_the_shown_shares_add_up_to_the_score(deck):
    shares, steps = unpack(deck.examples.shares), unpack(deck.examples.steps)
    total = (shares * steps[..., None].astype(np.float64)).sum(axis=-1)
    error = np.abs(total - unpack(deck.examples.scores))
    assert (error <= 0.5 * shares.shape[-1] * steps + 1e-6).all()


def test_a_window_shows_its_own_tokens_word_and_score(run, deck):
    examples, windows = run.record.array("raw.examples"), unpack(deck.examples.windows)
    texts = dict(zip(run.array("tokens.ids").tolist(), run.words("tokens.text"), strict=True))
    for layer, mode, place in np.ndindex(examples.shape):
        number, at = examples[layer, mode, place], windows[layer, mode, place]
        assert deck.windows.number[at] == number
        shown = [deck.tokens[token] for token in unpack(deck.windows.tokens)[at]]
        assert shown == [texts[token] for token in run.array("windows.input_ids")[number].tolist()]
        assert deck.windows.words[at] == run.words("windows.word")[number]
        assert deck.windows.classes[at] == run.words("windows.pos")[number]
        assert unpack(deck.examples.scores)[layer, mode, place] == run.array("raw.scores")[layer, number, mode]


@pytest.mark.parametrize("side", ["raised", "lowered"])
def test_tokens_that_a_direction_moves_are_named(run, deck, side):
    moved, ids = getattr(deck, side), run.of("raw", f"{side}.tokens")
    texts = dict(zip(run.array("tokens.ids").tolist(), run.words("tokens.text"), strict=True))
    named = [deck.tokens[place] for place in unpack(moved.places).reshape(-1)]
    assert named == [texts[token] for token in ids.reshape(-1).tolist()]
    np.testing.assert_array_equal(unpack(moved.logits), run.of("raw", f"{side}.logits"))


def test_numbers_are_those_of_the_run(run, deck):
    np.testing.assert_allclose(unpack(deck.values), run.of("raw", "values"), rtol=1e-6)
    np.testing.assert_allclose(unpack(deck.residual_errors), run.of("raw", "residuals.error"), rtol=1e-6)
    np.testing.assert_array_equal(unpack(deck.labels.auroc), run.of("raw", "auroc"))
    np.testing.assert_array_equal(unpack(deck.labels.sign), run.of("raw", "sign"))
    np.testing.assert_array_equal(np.isnan(unpack(deck.effect)), np.isnan(run.array("causal.effect")))
    assert deck.layers == ("0", "1", "2")


def test_without_texts_no_word_of_a_window_is_in_the_data(tmp_path):
    secret = with_words(language_measurement(), {"windows.word": ("kept-out",) * 48})
    texts = secret.words["tokens.text"]
    only_raised = {name: np.zeros((3, 4, 12), np.int64) for name in ("raw.raised.tokens", "raw.lowered.tokens")}
    run = read(tmp_path / "run", with_arrays(secret, only_raised))
    whole = deck_json(build_deck(run, "raw"))
    assert "kept-out" in whole
    assert all(json.dumps(text) in whole for text in texts)

    stripped = language_run(replace(open_run(tmp_path / "run"), seeds=(without_texts(run.record),)))
    bare = build_deck(stripped, "raw")
    assert bare.tokens == texts[:1]
    assert (bare.windows.tokens, bare.windows.words) == (None, None)
    assert bare.examples.shares == build_deck(run, "raw").examples.shares
    assert "kept-out" not in deck_json(bare)


def test_hostile_text_becomes_visible_text(tmp_path):
    base = language_measurement()
    vocabulary = tuple(HOSTILE[i % len(HOSTILE)] for i in range(len(base.words["tokens.text"])))
    words = {"tokens.text": vocabulary, "windows.word": HOSTILE[:1] * 48, "labels.names": HOSTILE + tuple("abcd")}
    words |= {"windows.pos": tuple(HOSTILE[i % 10] for i in range(48)), "groups": HOSTILE[:3]}
    deck = build_deck(read(tmp_path / "run", with_words(base, words)), "raw")
    text = deck_json(deck)
    assert text.isascii()
    assert "\\ud800" not in text
    assert "\\u202e" not in text
    assert "\\u0000" not in text
    assert len(text) < 200_000
    assert HOSTILE[0] in deck.tokens
    assert "x" * 120 + "… (10,000 characters)" in deck.tokens


def test_the_effect_of_ablating_a_label_is_that_of_its_mode(tmp_path):
    base = language_measurement(omit=("causal.effect",))
    ablated = {"NOUN": (5.0, 1.0), "VERB": (2.0, 2.5), "ADV": (9.0, 0.5)}
    figures = {
        f"causal.language.ablate.{label}.entk.{side}": value
        for label, sides in ablated.items()
        for side, value in zip(("own", "other"), sides, strict=True)
    }
    names = base.words["labels.names"]
    layers, modes = np.zeros(len(names), np.int64), np.arange(len(names)) % 3
    layers[names.index("ADV")] = 2  # DET, NOUN, VERB, ADV: modes 0, 1, 2, 0
    chosen = with_arrays(base, {"raw.layer": layers, "raw.mode": modes})
    effect = causal_effect(read(tmp_path / "run", replace(chosen, figures=figures)), "raw")
    assert (effect[0, 1], effect[0, 2], effect[2, 0]) == (4.0, -0.5, 8.5)
    assert np.isfinite(effect).sum() == 3
    assert causal_effect(read(tmp_path / "none", chosen), "raw") is None


PARTS = {
    "raw.residuals": "residuals", "raw.residuals.error": "residual_errors", "raw.converged": "converged",
    "raw.share": "energy", "causal.effect": "effect", "raw.auroc": "labels", "labels.names": "labels",
    "raw.raised.tokens": "raised", "raw.lowered.logits": "lowered", "raw.scores": "histogram",
    "raw.examples": "examples", "raw.directions": "similar_directions",
}  # fmt: skip


@pytest.mark.parametrize("absent", PARTS)
def test_what_a_run_lacks_is_none_and_the_rest_is_there(tmp_path, absent):
    deck = build_deck(read(tmp_path / "run", language_measurement(omit=(absent,))), "raw")
    assert getattr(deck, PARTS[absent]) is None
    assert json.loads(deck_json(deck))["values"]


@pytest.mark.parametrize(
    "absent", ["raw.examples.shares", "tokens.text", "windows.story", "windows.pos", "windows.word"]
)
def test_smaller_parts_may_be_absent_too(tmp_path, absent):
    run = read(tmp_path / "run", language_measurement(omit=(absent,)))
    deck = build_deck(run, "raw")
    checks = {
        "raw.examples.shares": deck.examples.shares is None,
        "tokens.text": all(text.startswith("token ") for text in deck.tokens),
        "windows.story": deck.windows.stories is None,
        "windows.pos": deck.histogram.classes == ("all windows",),
        "windows.word": deck.windows.words is None,
    }
    assert checks[absent]


@pytest.mark.parametrize(("groups", "kept"), [(18, 20), (126, 6), (10_000, 2)])
def test_a_page_of_many_kernels_shows_fewer_windows_of_each_end(groups, kept):
    places = kept_examples((groups, 25, 20), 64)
    half = kept // 2
    assert places == [*range(half), *range(10, 10 + half)]


def test_layers_are_numbered_where_that_tells_groups_apart():
    assert short_layers(["model.layers.3.mlp.down_proj.weight", "model.layers.12.mlp.down_proj.weight"]) == ("3", "12")
    assert short_layers(["model.layers.3", "model.layers.4"]) == ("3", "4")
    assert short_layers(["m.layers.3.mlp.up.weight", "m.layers.3.mlp.down.weight"]) == ("3.up", "3.down")
    assert short_layers(["layers.3.a.up.weight", "layers.3.b.up.weight"]) == ("0", "1")
    assert short_layers(["embed", "layers.3.up.weight"]) == ("0", "1")
