"""Text from outside that a reader can see: nothing is invisible, reorders its surroundings or runs on for pages."""

import re
from functools import partial

# Controls of direction and invisible marks (Unicode 16: Bidi_Control, zero-width characters). Joiners stay: emoji and
# several scripts need them.
_MARKS = "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
_HIDDEN = f"[\x00-\x1f\x7f-\x9f\xad{_MARKS}\ud800-\udfff]"
_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍", "\x7f": "␡"}
_LONGEST_TOKEN = 120


def visible(text: str, *, keep: str = "") -> str:
    """Text whose control characters, marks of direction, line breaks and lone surrogates are written out.

    A newline becomes "↵", NUL "␀" (the control pictures of Unicode), U+202E "⟨U+202E⟩".

    Args:
        text: any string, lone surrogates included.
        keep: control characters that stay as they are.
    """
    return re.sub(_HIDDEN, partial(_sign, keep=keep), text)


def visible_block(text: str) -> str:
    """As `visible`, with line breaks and tabs kept: for text that has lines."""
    return visible(text, keep="\n\t")


def visible_token(text: str, longest: int = _LONGEST_TOKEN) -> str:
    """As `visible`, cut after `longest` characters with the number of those there were."""
    if len(text) <= longest:
        return visible(text)
    return f"{visible(text[:longest])}… ({len(text):,} characters)"


def _sign(match: re.Match[str], keep: str) -> str:
    character = match.group()
    if character in keep:
        return character
    return _SIGNS.get(character) or (chr(0x2400 + ord(character)) if character < " " else f"⟨U+{ord(character):04X}⟩")
