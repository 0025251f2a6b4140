"""Every mode of every layer of a language model as a card."""

import numpy as np

from tangentlens.report.blocks import Block, Cards, Lead, Note, Section
from tangentlens.report.cards.build import build_deck
from tangentlens.report.cards.deck import Deck, deck_json
from tangentlens.report.language_run import LanguageRun, geometry_name, holds_language_model, language_run
from tangentlens.report.numbers import listing, several
from tangentlens.store import StoredRun

# What a card shows -> the arrays or words behind it, without the geometry's name; "." marks those of the whole run.
_PARTS = {
    "how sure its eigenvalue is": ("residuals",),
    "the tokens that its direction raises and lowers": ("raised.tokens", "lowered.tokens"),
    "its labels": ("auroc", ".labels.names"),
    "the intervals of its labels": ("auroc.low", "auroc.high"),
    "their corrected p-values": ("p",),
    "the histogram of its scores": ("scores",),
    "its highest and lowest windows": ("examples",),
    "each token's share in the score": ("examples.shares",),
}
_NO_TEXTS = (
    "This page holds no text of any window and no next words: the run does not store them, or the report was made "
    "without texts (--no-text). A window is shown as its positions."
)


def _build(run: StoredRun) -> tuple[Block, ...]:
    modes = language_run(run)
    if modes is None:
        return (Note("Not shown: the run holds no eigenvalues of any layer."),)
    deck = build_deck(modes, modes.main)
    absent = [part for part, names in _PARTS.items() if not all(_holds(modes, name) for name in names)]
    absent += ["its causal effect"] if deck.effect is None else []
    missing = (Note(f"The run does not hold, so no card shows: {listing(absent)}."),) if absent else ()
    bare = () if _holds(modes, ".windows.input_ids") else (Note(_NO_TEXTS),)
    return (Lead(_sentence(modes)), *missing, *bare, *_fewer(modes, deck), Cards(deck_json(deck)), Note(_HOW))


def _fewer(modes: LanguageRun, deck: Deck) -> tuple[Block, ...]:
    examples = modes.of(modes.main, "examples")
    if deck.examples is None or examples is None or deck.examples.windows.shape == examples.shape:
        return ()
    shown, held = deck.examples.windows.shape[2], examples.shape[2]
    return (
        Note(f"To keep the page small a card shows {shown} windows of the {held} that the run holds for each mode."),
    )


def _holds(modes: LanguageRun, name: str) -> bool:
    full = name.removeprefix(".") if name.startswith(".") else f"{modes.main}.{name}"
    return full in modes.record.names or bool(modes.words(full))


def _sentence(modes: LanguageRun) -> str:
    layers, count = modes.record.array(f"{modes.main}.values").shape
    converged = modes.of(modes.main, "converged")
    trust = "" if converged is None or np.any(converged) else " None of them converged."
    return (
        f"{several(layers * count, 'mode').capitalize()}, {count} in each of {several(layers, 'kernel')}, of the eNTK "
        f"in the {geometry_name(modes.main)} geometry.{trust}"
    )


_HOW = (
    "A mode gives every window a score; its sign is free. A token's colour is its share in the window's score, on one "
    "scale for all windows of a card; the shares of a window add up to its score. A label's AUROC is measured on the "
    "test half with the sign chosen on the train half; its 95 % interval speaks of other stories. The best of many is "
    "optimistic, which the interval does not know and the p-value does: it is corrected over all modes, layers and "
    "labels (Holm). An AUROC in grey has a corrected p above 0.05. Neighbours are modes of other layers whose "
    "scores correlate, or whose output directions point the same way, up to sign. A causal effect is known for modes "
    "that were ablated: what that takes from the probability of the label's own words, less what it takes from other "
    "words, in percentage points."
)

SECTION = Section("feature-cards", "Feature cards", _build, when=holds_language_model)
