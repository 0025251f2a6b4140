import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tangentlens.language.windows.boundaries import boundaries, tokenise
from tests.support.language_cases import RULE_TAGGER, TOKENIZERS, story

LANGUAGES = {name: make() for name, make in TOKENIZERS.items()}


@pytest.mark.parametrize("name", sorted(LANGUAGES))
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 40))
def test_each_boundary_is_between_whole_tokens_just_before_a_word(name, seed, length):
    text, tokenizer = story(seed), LANGUAGES[name]
    tokens, words = tokenise(tokenizer, text), next(RULE_TAGGER.tag([text]))
    found = boundaries(text, tokens, words, {"NOUN", "VERB", "PUNCT"}, length)
    starts = {word.start: word.pos for word in words}
    for boundary in found:
        assert boundary.tokens >= length
        assert tokenizer.decode(tokens.ids[: boundary.tokens]).rstrip() == text[: boundary.character].rstrip()
        after = boundary.character + len(text[boundary.character :]) - len(text[boundary.character :].lstrip())
        assert starts[after] == boundary.pos
    whole = [
        word
        for word in words
        if all(not (s < word.start < e) or text[s : word.start].isspace() for s, e in spans(tokens))
    ]
    late = [word for word in whole if sum(end <= word.start for end in tokens.ends) >= length]
    assert len(found) == len(late)


def divides(text, start, token_start, token_end):
    return token_start < start < token_end and not text[token_start:start].isspace()


def spans(tokens):
    return list(zip(tokens.starts, tokens.ends, strict=True))


@pytest.mark.parametrize("name", sorted(LANGUAGES))
def test_a_word_that_begins_inside_a_token_has_no_boundary(name):
    tokenizer = LANGUAGES[name]
    text = "Ada saw the boat"
    tokens = tokenise(tokenizer, text)
    word = next(RULE_TAGGER.tag([text]))[-1]
    inside = type(word)("oat", word.start + 1, word.end, "NOUN", {})
    whole = boundaries(text, tokens, [word], {"NOUN", "VERB"}, 1)
    assert [boundary.pos for boundary in whole] == [word.pos]
    one_token = len(tokenizer(" boat", add_special_tokens=False).input_ids) == 1
    assert one_token
    assert boundaries(text, tokens, [inside], {"NOUN"}, 1) == []
