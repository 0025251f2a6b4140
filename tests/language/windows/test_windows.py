import logging

import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.language.windows.own_labels import LabelledText
from tangentlens.language.windows.windows import labelled_windows
from tests.support.language_cases import byte_level_tokenizer, story

TOKENIZER = byte_level_tokenizer()


def texts(*lengths):
    return [LabelledText(story(3)[:length].strip(), f"word {length}", "NOUN", {"Number": "Sing"}) for length in lengths]


def test_a_window_is_the_end_of_its_text(caplog):
    given = texts(150, 5, 120)
    with caplog.at_level(logging.WARNING, logger="tangentlens"):
        found = labelled_windows(given, TOKENIZER, length=12, source={"kind": "mine"})
    assert "left out 1 of 3 texts" in caplog.text
    assert found.story.tolist() == [0, 2]
    assert found.word == ("word 150", "word 120")
    assert (found.pos, found.seed, found.source) == (("NOUN", "NOUN"), None, {"kind": "mine"})
    for row, text in enumerate((given[0].text, given[2].text)):
        assert found.input_ids[row].tolist() == TOKENIZER(text).input_ids[-12:]
        assert text.endswith(found.text[row])


def test_texts_that_are_all_too_short_are_refused():
    with pytest.raises(InvalidInputError, match="none of 2 texts has 64 tokens"):
        labelled_windows(texts(5, 9), TOKENIZER)
