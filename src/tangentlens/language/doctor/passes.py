"""Checks by forward passes: randomness, causality, padding, attention, and the head's formula."""

import math

import torch

from tangentlens.language.agreement import relative_difference
from tangentlens.language.doctor.record import Check, Verdict
from tangentlens.language.doctor.subject import PADDING, Subject
from tangentlens.language.model import LanguageModel
from tangentlens.language.soundness import (
    check_attention,
    check_causality,
    check_padding,
    final_states,
    head_difference,
)
from tangentlens.models.checks import check_deterministic, check_finite, check_modes
from tangentlens.models.functional import FunctionalModel


def dropout(subject: Subject) -> Check:
    """No layer may drop units or take statistics from the batch.

    Raises:
        UnsupportedModelError: a layer does; names it.
    """
    check_modes(subject.lm.model)
    mode = "training mode, but nothing in it drops units" if subject.lm.model.training else "evaluation mode"
    return Check("dropout", Verdict.FINE, f"the model is in {mode}")


def determinism(subject: Subject) -> Check:
    """Two passes over the same windows agree.

    Raises:
        NumericalError: they hold NaN or infinity; names the first module whose result does.
        UnsupportedModelError: they do not; names the first module whose result differs.
    """
    view = FunctionalModel(subject.lm.model, {}, {}, lambda returned: returned.logits[:, -1])
    with torch.no_grad():
        first, second = view({}, subject.probe), view({}, subject.probe)
    check_finite(view, subject.probe, first)
    check_deterministic(view, subject.probe, first, second)
    difference = relative_difference(first, second)
    return Check("determinism", Verdict.FINE, f"two passes agree to {difference:.1e}", difference)


def causality(subject: Subject) -> Check:
    """Another last token changes no earlier hidden state.

    Raises:
        UnsupportedModelError: it does.
    """
    difference = check_causality(subject.lm, subject.probe, final_states(subject.lm, subject.probe))
    found = f"later tokens change nothing before them ({difference:.1e})"
    return Check("causality", Verdict.FINE, found, difference)


def attention(subject: Subject) -> Check:
    """The copy that is differentiated, whose attention has every derivative, computes what the model does.

    Raises:
        UnsupportedModelError: it does not, or the attention cannot be switched.
    """
    difference = check_attention(subject.lm, subject.probe, final_states(subject.working, subject.probe))
    before = _backend(subject.lm)
    switched = "is eager already" if before == "eager" else f"{before} is switched to eager on a copy"
    agree = "of another precision" if math.isnan(difference) else f"the two agree to {difference:.1e}"
    return Check("attention", Verdict.FINE, f"{switched}; {agree}", difference)


def padding_left(subject: Subject) -> Check:
    """Tokens before a window that the mask hides change nothing at its last position."""
    return _padding(subject, "left")


def padding_right(subject: Subject) -> Check:
    """Tokens behind a window that the mask hides change nothing at its last position."""
    return _padding(subject, "right")


def _padding(subject: Subject, side: str) -> Check:
    ids = subject.probe["input_ids"]
    filler = subject.windows(len(ids), PADDING)["input_ids"]
    pieces = [(filler, torch.zeros_like(filler)), (ids, torch.ones_like(ids))]
    tokens, mask = zip(*(pieces if side == "left" else pieces[::-1]), strict=True)
    difference = check_padding(
        subject.working, {"input_ids": torch.cat(tokens, 1), "attention_mask": torch.cat(mask, 1)}
    )
    return Check(f"padding {side}", Verdict.FINE, f"changes the last position by {difference:.1e}", difference)


def head(subject: Subject) -> Check:
    """The logits are s (U r + b), or c tanh of that over c, with r the final hidden state.

    Raises:
        UnsupportedModelError: they are not.
    """
    lm = subject.lm
    difference = head_difference(lm, subject.probe, final_states(lm, subject.probe))
    linearised = "" if lm.head.soft_cap is None else ", linearised exactly at every window"
    found = f"the logits are {lm.head.formula}{linearised} (to {difference:.1e})"
    return Check("head", Verdict.FINE, found, difference)


def _backend(lm: LanguageModel) -> str:
    return str(lm.model.config._attn_implementation)  # type: ignore[union-attr]
