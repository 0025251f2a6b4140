"""Claims of the paper's third setting, and of its controls, with the figures that decide them.

statistics/claims.py holds the rule. One model is one seed: tests are over its windows.
"""

from tangentlens.store.about import Claim
from tangentlens.store.figure_keys import LeadP, MacroKind, Selectivity, SelectivityP

_NO_LEAD = "no lead over as many principal components"


def _lead(name: str, statement: str, measure: str, family: str, method: str) -> Claim:
    key, p = MacroKind(measure, family, "lead", method), LeadP(measure, family, method)
    return Claim(name, statement, str(key), 0.0, _NO_LEAD, p=str(p))


def _selective(name: str, statement: str, method: str, control: str, words: str) -> Claim:
    """The p is the exchange test's, over windows."""
    key, p = (kind(method, f"over_{control}") for kind in (Selectivity, SelectivityP))
    return Claim(name, statement, str(key), 0.0, words, p=str(p))


CLAIMS: tuple[Claim, ...] = (
    _lead("pos_beats_pca", "Modes rank parts of speech better than principal components", "auroc", "pos", "entk"),
    _lead("pos_precision_beats_pca", "They do so in average precision", "average_precision", "pos", "entk"),
    _lead("morphology_beats_pca", "Modes rank morphology better than principal components", "auroc", "morph", "entk"),
    _lead("centred_beats_pca", "So do those of the centred logits, for POS", "auroc", "pos", "entk_centred"),
    _lead("fisher_beats_pca", "So do those of the Fisher metric", "auroc", "pos", "entk_fisher"),
    _selective("mode_is_used", "Without a label's direction its words lose more probability than others do",
               "entk", "other_words", "words of other parts of speech"),
    _selective("mode_beats_random", "That difference is larger than for random directions",
               "entk", "random", "random directions"),
    _selective("mode_beats_pca", "It is larger than for the best principal component",
               "entk", "pca", "principal components"),
)  # fmt: skip
