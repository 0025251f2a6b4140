import pytest

from tangentlens.language.windows.labelling import TaggedWord
from tangentlens.language.windows.word_labels import word_labels, words_around

# "Ada saw it"
WORDS = (
    TaggedWord("Ada", 0, 3, "PROPN", {"Number": "Sing"}, "nsubj"),
    TaggedWord("saw", 4, 7, "VERB", {"Tense": "Past"}, "ROOT"),
    TaggedWord("it", 8, 10, "PRON", {"Number": "Sing", "Person": "3"}),
)


@pytest.mark.parametrize(
    ("character", "following", "current", "previous"),
    [
        (0, "Ada", None, None),
        (1, "saw", "Ada", None),
        (3, "saw", "Ada", None),
        (4, "saw", "Ada", None),
        (5, "it", "saw", "Ada"),  # inside a word: the window's last word is the one that has begun
        (8, "it", "saw", "Ada"),
        (10, None, "it", "saw"),
    ],
)
def test_the_words_around_each_place(character, following, current, previous):
    found = words_around(WORDS, character)
    assert [None if word is None else word.text for word in found.values()] == [following, current, previous]


def test_columns_hold_what_each_word_has_and_those_without_a_value_are_left_out():
    assert word_labels([words_around(WORDS, 0), words_around(WORDS, 5), words_around(WORDS, 10)]) == {
        "next.pos": ("PROPN", "PRON", None),
        "next.dep": ("nsubj", None, None),
        "next.morph.Number": ("Sing", "Sing", None),
        "next.morph.Person": (None, "3", None),
        "current.pos": (None, "VERB", "PRON"),
        "current.dep": (None, "ROOT", None),
        "current.morph.Number": (None, None, "Sing"),
        "current.morph.Person": (None, None, "3"),
        "current.morph.Tense": (None, "Past", None),
        "previous.pos": (None, "PROPN", "VERB"),
        "previous.dep": (None, "nsubj", "ROOT"),
        "previous.morph.Number": (None, "Sing", None),
        "previous.morph.Tense": (None, None, "Past"),
    }
    assert word_labels([words_around((), 3)]) == {}
