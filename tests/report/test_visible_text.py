import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.report.visible_text import visible, visible_block, visible_token

# every code point, lone surrogates included
ANY = st.text(st.characters(categories=None), max_size=30)
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@given(ANY)
def test_nothing_hidden_is_left_and_what_is_seen_stays(text):
    shown = visible(text)
    assert not HIDDEN.search(shown)
    shown.encode("utf-8")
    assert visible(shown) == shown
    if text.isascii() and text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\n", "↵"),
        ("a\tb", "a⇥b"),
        ("\x00", "␀"),
        ("\x1b[31m", "␛[31m"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("\ud800", "⟨U+D800⟩"),
        ("</script>", "</script>"),
        ("שלום", "שלום"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_each_kind_has_its_sign(text, shown):
    assert visible(text) == shown


def test_lines_can_be_kept():
    assert visible_block("a\n\tb\x00\r") == "a\n\tb␀␍"


def test_a_long_token_is_cut_and_says_how_long_it_was():
    assert visible_token("x" * 10_000) == "x" * 120 + "… (10,000 characters)"
    assert visible_token("x" * 120) == "x" * 120
