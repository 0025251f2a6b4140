import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tangentlens as tl
from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.language.windows.cut_rules import CutRules
from tangentlens.language.windows.cutting import cut_windows
from tangentlens.language.windows.special_tokens import frame, vocabulary_hash
from tangentlens.language.windows.text_labels import read_labels
from tangentlens.language.windows.text_windows import retokenised
from tangentlens.language.windows.text_windows_file import read_text_windows, write_text_windows
from tangentlens.language.windows.texts import read_texts
from tests.support.language_cases import RULE_TAGGER, TOKENIZERS, story, tiny_llama
from tests.support.real_gemma import gemma, needs_gemma

CHAT = (
    "{{ bos_token }}{% for message in messages %}<turn>{{ message.role }}\n{{ message.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
TENSORS = ("input_ids", "attention_mask", "special", "position", "text_index", "character")


def chatty(name):
    """A tokenizer with a beginning-of-text token, marks of turns and a template."""
    tokenizer = TOKENIZERS[name]()
    tokenizer.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": ["<turn>", "<end>"]})
    tokenizer.chat_template = CHAT
    return tokenizer


CHATTY = {name: chatty(name) for name in TOKENIZERS}
PLAIN = {name: make() for name, make in TOKENIZERS.items()}


def cut(texts, tokenizer, labels=None, tagger=None, **rules):
    read = read_texts(list(texts))
    return cut_windows(read, tokenizer, CutRules(**rules), labels=read_labels(labels, read), tagger=tagger)


def equal(first, second):
    same = all(torch.equal(getattr(first, name), getattr(second, name)) for name in TENSORS)
    others = ("text", "token_text", "after", "labels", "source", "seed")
    return same and all(getattr(first, name) == getattr(second, name) for name in others)


def tokens(windows, row, special):
    kept = windows.attention_mask[row].bool() & (windows.special[row] == special)
    return windows.input_ids[row][kept].tolist()


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("name", sorted(CHATTY))
@pytest.mark.parametrize("at", ["end", 5, "word"])
def test_a_beginning_token_stands_in_front_of_the_same_windows_and_is_flagged(name, padding, at):
    tagger = RULE_TAGGER if at == "word" else None
    texts = [story(seed) for seed in range(4)] + ["Ada saw"]
    options = {"at": at, "length": 9, "padding": padding, "tagger": tagger}
    without, found = (cut(texts, CHATTY[name], bos=bos, **options) for bos in (False, True))
    bos = CHATTY[name].bos_token_id
    for row in range(len(found)):
        assert tokens(found, row, True) == [bos]
        assert tokens(found, row, False) == tokens(without, row, False)
        first = int(found.attention_mask[row].argmax())
        assert int(found.input_ids[row, first]) == bos
        assert found.token_text[row][first] == "<s>"
    assert found.text == without.text
    assert found.input_ids.shape[1] == without.input_ids.shape[1] + 1
    assert torch.equal(found.position, without.position + 1)
    assert found.source["special"]["bos"] == "<s>"
    assert without.source["special"]["bos"] is None


@pytest.mark.parametrize("name", sorted(CHATTY))
@settings(deadline=None, max_examples=40)
@given(text=st.text("ab the\n.,é🙂\x00", min_size=1, max_size=40).filter(str.strip), bos=st.booleans())
def test_a_chat_template_is_tokenised_with_the_text_and_all_else_is_flagged(name, text, bos):
    tokenizer = CHATTY[name]
    found = cut([text], tokenizer, at="end", length=1000, template=True, bos=bos)
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    assert found.input_ids[0].tolist() == tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert "".join(found.token_text[0]) == whole
    own = [piece for piece, special in zip(found.token_text[0], found.special[0].tolist(), strict=True) if not special]
    assert "".join(own).endswith(text) or "".join(own) == text
    assert found.text == (text,)
    assert int(found.position) == found.input_ids.shape[1] - 1
    assert found.input_ids[0].tolist().count(tokenizer.bos_token_id) == 1  # the template's own


@pytest.mark.parametrize("text", ["a  ", " .", "  a", "a  b", "a \n b", "a\n\n", "a \n", "\n a", " a  🙂  "])
@pytest.mark.parametrize("name", sorted(CHATTY))
def test_tokens_of_blanks_have_their_places(name, text):
    tokenizer = CHATTY[name]
    found = frame(tokenizer).tokenise(text)
    assert list(found.tokens.ids) == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert found.before == found.after == ()
    assert "".join(found.pieces) == text
    assert all(
        piece == tokenizer.decode([token])
        for piece, token in zip(found.pieces, found.tokens.ids, strict=True)
        if "\ufffd" not in tokenizer.decode([token]) and piece.strip() != "🙂"
    )


def test_of_a_long_text_the_last_tokens_stand_between_the_words_of_the_template():
    tokenizer = CHATTY["byte level"]
    found = cut([story(1)], tokenizer, at="end", length=5, template=True)
    assert tokens(found, 0, False) == cut([story(1)], tokenizer, at="end", length=5).input_ids[0].tolist()
    written = "".join(found.token_text[0])
    assert written == f"<s><turn>user\n{found.text[0]}<end>\n<turn>model\n"


def test_nothing_follows_a_place_inside_a_text():
    found = cut([story(1)], CHATTY["byte level"], at=7, length=5, template=True, count=3)
    assert all("".join(row) == f"<s><turn>user\n{text}" for row, text in zip(found.token_text, found.text, strict=True))
    own = cut(["Ada saw"], PLAIN["byte level"], at="end", template="Q:{{ messages[0].content }} A:")
    assert "".join(own.token_text[0]) == "Q:Ada saw A:"


@pytest.mark.parametrize(
    ("template", "words"),
    [("{{ nothing", "cannot be applied"), ("no message", "0 times"), ("{{ messages[0].content * 2 }}", "2 times")],
)
def test_templates_that_do_not_write_a_text_once_are_refused(template, words):
    with pytest.raises(InvalidInputError, match=words):
        frame(PLAIN["byte level"], template=template)


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("bos", [False, True])
def test_another_tokenizer_cuts_the_same_characters(padding, bos):
    first, second = CHATTY["byte level"], CHATTY["metaspace"]
    texts = [story(seed) for seed in range(6)]
    windows = cut(texts, first, at="word", length=7, padding=padding, bos=bos, tagger=RULE_TAGGER, count=30)
    found = retokenised(windows, second)
    assert found.text == windows.text
    assert found.labels == windows.labels
    assert torch.equal(found.character, windows.character)
    assert torch.equal(found.text_index, windows.text_index)
    for row, text in enumerate(found.text):
        assert texts[int(found.text_index[row])][: int(found.character[row])].endswith(text)
        assert tokens(found, row, False) == second(text, add_special_tokens=False)["input_ids"]
        assert tokens(found, row, True) == [second.bos_token_id] * bos
    assert found.padding == padding
    assert bool(found.attention_mask[:, 0 if padding == "right" else -1].all())
    assert "tokens differ" in found.source["note"]
    assert found.source["cut_with"]["vocabulary_sha256"] == vocabulary_hash(first)
    assert retokenised(windows, first) is windows


def test_another_tokenizer_without_the_special_tokens_is_refused():
    windows = cut(["Ada saw"], CHATTY["byte level"], at="end", bos=True)
    with pytest.raises(InvalidInputError, match="no beginning-of-text token"):
        retokenised(windows, PLAIN["metaspace"])
    windows = cut(["Ada saw"], CHATTY["byte level"], at="end", template=True)
    with pytest.raises(InvalidInputError, match="no chat template"):
        retokenised(windows, PLAIN["metaspace"])
    found = retokenised(windows, CHATTY["metaspace"])
    assert found.text == windows.text
    assert "".join(found.token_text[0]).endswith("Ada saw<end>\n<turn>model\n")


def test_a_sweep_sees_the_same_windows_whatever_the_side_of_the_padding():
    tokenizer = CHATTY["byte level"]
    lm = tl.language_model(tiny_llama(len(tokenizer)), tokenizer=tokenizer)
    texts = [story(seed)[: 9 + 7 * seed] for seed in range(8)]
    values = []
    for padding in ("left", "right"):
        windows = cut(texts, tokenizer, at="end", length=12, bos=True, padding=padding)
        swept = tl.sweep(lm, windows.batch, groups="down_proj", geometry="fisher", directions=4, modes=3)
        values.append(torch.stack([modes.pairs.values for modes in swept.modes.values()]))
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_windows_come_back_from_the_disk_as_they_were(tmp_path, padding):
    texts = [*(story(seed) for seed in range(10)), "a\x00b \u200f\u202eשלום \ud7ff é🙂\n x"]
    labels = {"kite": "kite", "who": lambda text: [n for n in ("Ada", "Ben") if n in text], "n": len, "x": [1.5] * 11}
    windows = cut(texts, CHATTY["metaspace"], labels=labels, at=6, length=8, padding=padding, bos=True)
    found = read_text_windows(write_text_windows(tmp_path / "w.safetensors", windows))
    assert equal(found, windows)
    json.dumps(dict(found.source))


@pytest.mark.parametrize("keep", [0, 5, 300])
def test_a_damaged_file_is_a_store_error_with_the_remedy(tmp_path, keep):
    path = write_text_windows(tmp_path / "w.safetensors", cut(["Ada saw"], PLAIN["metaspace"]))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"w\.safetensors.*again"):
        read_text_windows(path)
    with pytest.raises(StoreError):
        read_text_windows(tmp_path / "absent")
    with pytest.raises(StoreError):
        write_text_windows(tmp_path / "absent" / "w", cut(["Ada saw"], PLAIN["metaspace"]))


@needs_gemma
def test_gemma_s_beginning_token_and_words():
    _, tokenizer = gemma()
    texts = ["The cat sat on the mat, and it was happy.", "One day it rained 🙂 all day long in the small town."]
    found = cut(texts, tokenizer, at=4, length=6, bos=True)
    assert bool((found.input_ids[:, 0] == tokenizer.bos_token_id).all())
    for row, text in enumerate(found.text):
        source = texts[int(found.text_index[row])]
        ids = tokenizer(source, add_special_tokens=False)["input_ids"]
        kept = tokens(found, row, False)
        assert any(ids[place : place + len(kept)] == kept for place in range(len(ids)))
        assert source[: int(found.character[row])].endswith(text)
