"""Forms of claims that several settings make."""

from tangentlens.store.about import Claim
from tangentlens.store.figure_keys import (
    LAG,
    LAG_DISTANCE,
    MODES,
    NULL_LAG_DISTANCE,
    Ablation,
    Ahead,
    Move,
    NullOverlap,
    NullQuantile,
    Overlap,
    Ranked,
)


def above_null(name: str, statement: str, block: str, null: str, words: str) -> Claim:
    """A block holds more of its family than under a null model (untrained, permuted_labels)."""
    return Claim(name, statement, str(Overlap(block)), str(NullOverlap(null, block.removeprefix("unembed."))), words)


def above_random(name: str, statement: str, block: str) -> Claim:
    """A block holds more of its family than random subspaces of its dimension."""
    quantile = NullQuantile("random_subspace", block.removeprefix("unembed."))
    return Claim(name, statement, str(Overlap(block)), str(quantile), "the 95 % quantile of random subspaces")


def needed(name: str, statement: str, where: tuple[str, str], part: str, control: str, words: str) -> Claim:
    """Accuracy is lower without a part than without a control, in a space of a subject."""
    own, other = (str(Ablation(*where, each, "accuracy")) for each in (part, control))
    return Claim(name, statement, own, other, words, "below")


def moves_more(name: str, statement: str, site: str, ratio: str) -> Claim:
    """Moves at a site along modes change the outputs more than moves along a control."""
    return Claim(name, statement, str(Move(site, "sensitivity_ratio", ratio)), 1.0, "equal changes")


def holds_more(name: str, statement: str, family: str, rival: str, words: str) -> Claim:
    """The modes hold more of a family than a rival at equal dimension; the statement goes on after these words."""
    said = f"At equal dimension the modes hold more of {statement}"
    return Claim(name, said, str(Ranked(MODES, family)), str(Ranked(rival, family)), words)


def along_training(features: str, onset: str) -> tuple[Claim, ...]:
    """Claims on the time at which the overlap with some features grows, compared with accuracy and loss."""
    grows = f"The overlap with {features} grows fastest"
    return (
        Claim("peak_near_onset", f"{grows} near {onset}",
              LAG_DISTANCE, NULL_LAG_DISTANCE,
              "overlaps of the same modes with random feature spaces", "below"),
        Claim("peak_before_onset", f"{grows} before the onset", LAG, 0.0, "no distance"),
        Claim("kernel_leads_accuracy", "The overlap has gone half of its way before test accuracy has",
              str(Ahead("lead", "half")), 0.0, "no lead"),
        Claim("kernel_warns_early", "The overlap has gone a tenth of its way before test accuracy has",
              str(Ahead("lead", "early")), 0.0, "no lead"),
        Claim("kernel_leads_test_loss", "The overlap has gone half of its way before the test loss has",
              str(Ahead("lead_over_loss", "half")), 0.0, "no lead"),
    )  # fmt: skip
