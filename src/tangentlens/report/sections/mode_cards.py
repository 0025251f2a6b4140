"""Every mode of every group of any model as a card."""

from tangentlens.report.blocks import Block, Cards, Lead, Note, Section
from tangentlens.report.cards.deck import deck_json
from tangentlens.report.cards.modes import build_mode_deck
from tangentlens.report.language_run import holds_language_model
from tangentlens.report.mode_run import ModeRun, holds_modes, mode_run
from tangentlens.report.numbers import several
from tangentlens.store import StoredRun

_HOW = (
    "A mode gives every input a score; its sign is free. What a card says of a fact was chosen on one half of the "
    "inputs (the sign, the end, of a number the quarter) and is measured on the other: AUROC for what is true or "
    "false of an input, rank correlation for a number, and how many of the extreme inputs of that half have it. p is "
    "corrected over all facts, modes and both tests (Holm); above 0.05 the score is grey. The inputs shown are the "
    "extremes among all. Modes of different groups that score the inputs alike are a family; the one with the largest "
    "share of its kernel's trace represents it."
)
_UNNAMED = (
    'Inputs are shown by their number: show= ("image", "text", "table", "series", a sequence) says how they look.'
)


def _build(run: StoredRun) -> tuple[Block, ...]:
    modes = mode_run(run.seeds[0])
    unnamed = () if modes.inputs.kind else (Note(_UNNAMED),)
    return (Lead(_sentence(modes)), *unnamed, Cards(deck_json(build_mode_deck(modes))), Note(_HOW))


def _sentence(run: ModeRun) -> str:
    count, groups = len(run.modes), len(run.groups)
    families = len({row["family"] for row in run.modes})
    words = f"{several(count, 'mode').capitalize()} of {several(groups, 'kernel')}, {families} families of like modes"
    if "facts.names" not in run.record.words:
        return f"{words}; no fact about the inputs was at hand to explain them by."
    explained = sum(bool(row["explained_by"]) for row in run.modes)
    return f"{words}; a fact about the inputs explains {explained} of them beyond chance."


def _when(run: StoredRun) -> bool:
    return holds_modes(run) and not holds_language_model(run)


SECTION = Section("cards", "Cards of all modes", _build, when=_when)
