import json
import logging
from collections import Counter
from dataclasses import replace

import pytest
import torch

from tangentlens.errors import InvalidInputError, NumericalError
from tangentlens.language.windows import search as search_module
from tangentlens.language.windows.boundaries import tokenise
from tangentlens.language.windows.labelling import tagger
from tangentlens.language.windows.search import WindowRules, build_windows
from tests.support.language_cases import RULE_TAGGER, TOKENIZERS, given, stories, story, tiny_llama
from tests.support.real_gemma import gemma, needs_gemma

RULES = WindowRules(length=10, quotas={"NOUN": 5, "VERB": 4, "PUNCT": 2}, seed=3, per_story=4)


LANGUAGES = {
    name: (tiny_llama(len(tokenizer)), tokenizer) for name, make in TOKENIZERS.items() for tokenizer in [make()]
}


@pytest.fixture
def language():
    return LANGUAGES["byte level"]


def search(language, rules=RULES, text=None, **options):
    return build_windows(text or stories(40), *language, RULE_TAGGER, rules, **options)


def windows_equal(one, other):
    same = torch.equal(one.input_ids, other.input_ids) and torch.equal(one.story, other.story)
    return same and (one.text, one.word, one.pos, one.morphology) == (
        other.text,
        other.word,
        other.pos,
        other.morphology,
    )


def test_quotas_are_filled_exactly(language):
    found = search(language)
    assert Counter(found.pos) == RULES.quotas
    assert found.input_ids.shape == (11, 10)
    assert found.input_ids.dtype == torch.int64
    assert found.source["windows"] == len(found) == 11
    assert found.source["candidates"] >= 11


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_each_window_is_what_a_plain_loop_makes_of_its_story(name):
    model, tokenizer = LANGUAGES[name]
    found = search(LANGUAGES[name], replace(RULES, allow_fewer=True))
    assert len(found) >= 5
    texts = list(stories(40))
    for row in range(len(found)):
        text = texts[found.story[row]]
        tokens = tokenise(tokenizer, text)
        window = found.input_ids[row].tolist()
        ends = [end for end in range(10, len(tokens.ids)) if list(tokens.ids[end - 10 : end]) == window]
        assert any(plain_loop(model, tokenizer, text, tokens, end) == (found.word[row], found.pos[row]) for end in ends)
        assert tokenizer.decode(window) == found.text[row]
        assert found.morphology[row] == {"Length": str(len(found.word[row]))}


def plain_loop(model, tokenizer, text, tokens, end):
    """(model's word, its POS) at a boundary if story and model agree there, else None; no cache, no batch."""
    prefix = text[: tokens.ends[end - 1]]
    own = next(word for word in next(RULE_TAGGER.tag([text])) if word.start >= len(prefix))
    if text[len(prefix) : own.start].strip():
        return None
    ids = list(tokens.ids[end - 10 : end])
    for _ in range(3):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    continued = prefix + tokenizer.decode(ids)[len(tokenizer.decode(ids[:10])) :]
    word = next((word for word in next(RULE_TAGGER.tag([continued])) if word.start >= len(prefix)), None)
    return (word.text, word.pos) if word is not None and word.pos == own.pos else None


def test_the_seed_decides_and_the_batch_size_does_not(language, monkeypatch):
    one = search(language)
    monkeypatch.setattr(search_module, "_BATCH", 5)
    assert windows_equal(one, search(language))
    other = search(language, WindowRules(length=10, quotas=RULES.quotas, seed=4, per_story=4))
    assert not windows_equal(one, other)


def test_the_global_generators_are_left_alone(language):
    before = torch.random.get_rng_state()
    search(language)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_second_boundary_of_a_story_comes_after_a_first_of_every_other(language):
    rules = WindowRules(length=10, quotas={"NOUN": 30, "VERB": 30}, per_story=3, allow_fewer=True)
    found = search(language, rules, stories(20))
    assert Counter(found.story.tolist()).most_common(1)[0][1] <= 3
    assert found.source["candidates"] <= 60
    assert len({(int(s), tuple(w)) for s, w in zip(found.story, found.input_ids.tolist(), strict=True)}) == len(found)
    once = search(language, WindowRules(length=10, quotas=rules.quotas, allow_fewer=True), stories(20))
    assert torch.equal(found.input_ids[: len(once)], once.input_ids)


class Interrupted:
    """A model that dies after some calls, and counts them."""

    def __init__(self, model, calls):
        self.model, self.left, self.device = model, calls, model.device

    def __call__(self, **arguments):
        if self.left == 0:
            raise NumericalError("killed")
        self.left -= 1
        return self.model(**arguments)


@pytest.mark.parametrize("torn", [b"", b'{"key": "9:3'])
def test_an_interrupted_search_goes_on_to_the_same_end(language, tmp_path, torn, monkeypatch):
    monkeypatch.setattr(search_module, "_BATCH", 4)
    model, tokenizer = language
    whole = search(language)
    with pytest.raises(NumericalError):
        search((Interrupted(model, 12), tokenizer), work=tmp_path)
    journal = tmp_path / "candidates.jsonl"
    finished = len(journal.read_bytes().splitlines()) - 1
    assert finished == 16
    with journal.open("ab") as stream:
        stream.write(torn)
    assert windows_equal(search(language, work=tmp_path), whole)
    assert windows_equal(search((Interrupted(model, 0), tokenizer), work=tmp_path), whole)
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_candidates_of_another_search_are_refused(language, tmp_path):
    search(language, work=tmp_path)
    with pytest.raises(InvalidInputError, match="same settings"):
        search(language, work=tmp_path, model_name="another model")


def test_a_quota_that_cannot_be_filled_is_named_with_the_remedy(language, caplog):
    rules = {"length": 10, "quotas": {"NOUN": 2, "ADV": 3}, "per_story": 2}
    with pytest.raises(InvalidInputError, match=r"8 stories gave too few windows: ADV 0 of 3.*per_story"):
        search(language, WindowRules(**rules), stories(8))
    with caplog.at_level(logging.WARNING, logger="tangentlens"):
        found = search(language, WindowRules(**rules, allow_fewer=True), stories(8))
    assert found.pos == ("NOUN", "NOUN")
    assert "ADV 0 of 3" in caplog.text


def test_only_as_many_stories_are_read_as_are_needed_and_allowed(language):
    assert search(language, text=stories(5000)).source["stories"] < 300
    with pytest.raises(InvalidInputError, match="6 stories gave too few"):
        search(language, WindowRules(length=10, quotas={"NOUN": 99}, max_stories=6))


def test_bad_arguments_are_refused(language):
    with pytest.raises(InvalidInputError, match="none of 40 stories has more than 900 tokens"):
        search(language, WindowRules(length=900, quotas={"NOUN": 1}))
    with pytest.raises(InvalidInputError, match="the quota of NOUN"):
        search(language, WindowRules(quotas={"NOUN": 0}))
    with pytest.raises(InvalidInputError, match="per_story"):
        search(language, WindowRules(per_story=0, quotas={"NOUN": 1}))

    class Slow:
        is_fast = False

    with pytest.raises(InvalidInputError, match="does not say where"):
        search((language[0], Slow()))


def test_hostile_text_passes_as_it_is(language):
    texts = [story(seed).replace("the", "\x00the\u200f\x07 é🙂 \u202e") for seed in range(40)]
    found = search(language, text=given(texts))
    whole = [
        (texts[row], text) for row, text in zip(found.story.tolist(), found.text, strict=True) if "\ufffd" not in text
    ]
    assert whole
    assert all(text in story_ for story_, text in whole)
    assert any("\x00" in text for text in found.text)


@needs_gemma
def test_gemma_and_the_real_tagger_agree_on_plain_english():
    model, tokenizer = gemma()
    text = (
        "Every morning the baker opened his little shop at the corner of the street. He lit the oven, mixed the dough "
        "and waited until the bread was brown. Then the children came in. They were hungry, and they liked the smell "
        "of the warm bread. The baker gave each of them a small roll, and they ran to school. In the evening he "
        "swept the floor, closed the door and walked home. They ate together and talked about the day."
    )
    rules = WindowRules(quotas={"DET": 1, "NOUN": 1, "CCONJ": 1}, per_story=5, allow_fewer=True)
    found = build_windows(given([text]), model, tokenizer, tagger(), rules)
    assert len(found) >= 1
    assert set(found.word) & {"the", "a", "and", "bread", "door", "floor", "day", "school", "roll"}
    assert all(len(window) == 64 for window in found.input_ids.tolist())
    assert all(piece in text for piece in found.text)
