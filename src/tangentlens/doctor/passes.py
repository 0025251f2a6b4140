"""What forward passes show: randomness, causality, padding, attention, and what the head does."""

import math

import torch
from torch import Tensor

from tangentlens.doctor.agreement import relative_difference, tolerance
from tangentlens.doctor.record import Check, Verdict
from tangentlens.doctor.subject import PADDING, Subject
from tangentlens.models.checks import check_deterministic, check_finite, check_modes
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.language_model import Batch, LanguageModel, differentiable_attention, last_positions


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
    """Another last token changes no earlier hidden state."""
    ids = subject.probe["input_ids"]
    other = ids.clone()
    other[:, -1] = (other[:, -1] + 1) % subject.lm.unembedding.shape[0]
    before, after = (_hidden(subject.lm, {"input_ids": tokens})[:, :-1] for tokens in (ids, other))
    difference = relative_difference(before, after)
    if difference <= tolerance(before.dtype):
        return Check(
            "causality", Verdict.FINE, f"later tokens change nothing before them ({difference:.1e})", difference
        )
    return Check(
        "causality",
        Verdict.FAILS,
        f"a later token changes the hidden states before it by {difference:.1e}: this is no causal language model",
        difference,
        "Give a causal language model (AutoModelForCausalLM).",
    )


def attention(subject: Subject) -> Check:
    """The attention can be switched to one with every derivative, computes the same, and is put back."""
    lm = subject.lm
    before = _backend(lm)
    own = _hidden(lm, subject.probe)
    with differentiable_attention(lm.model):
        inside = _backend(lm)
        plain = _hidden(lm, subject.probe)
    after = _backend(lm)
    difference = relative_difference(own, plain)
    if inside != "eager":
        return Check(
            "attention",
            Verdict.FAILS,
            f"the attention stays {inside} when it is switched to eager, so it has no forward-mode derivative",
            difference,
            "Load the model with attn_implementation='eager'.",
        )
    if after != before:
        return Check(
            "attention",
            Verdict.FAILS,
            f"the attention was {before} and is {after} after it was switched and put back",
            difference,
            "Load the model with attn_implementation='eager', so that nothing has to be switched.",
        )
    if difference > tolerance(own.dtype):
        return Check(
            "attention",
            Verdict.NOTE,
            f"eager and {before} attention differ by {difference:.1e}: kernels are those of the eager one",
            difference,
            "Load the model with attn_implementation='eager' for everything that is compared with a kernel.",
        )
    switched = "is eager already" if before == "eager" else f"{before} is switched to eager for a call and put back"
    return Check("attention", Verdict.FINE, f"{switched}; the two agree to {difference:.1e}", difference)


def padding_left(subject: Subject) -> Check:
    """Tokens before a window that the mask hides change nothing at its last position."""
    return _padding(subject, "left")


def padding_right(subject: Subject) -> Check:
    """Tokens behind a window that the mask hides change nothing at its last position."""
    return _padding(subject, "right")


def _padding(subject: Subject, side: str) -> Check:
    lm = subject.lm
    ids = subject.probe["input_ids"]
    filler = subject.windows(len(ids), PADDING)["input_ids"]
    pieces = [(filler, torch.zeros_like(filler)), (ids, torch.ones_like(ids))]
    tokens, mask = zip(*(pieces if side == "left" else pieces[::-1]), strict=True)
    padded = {"input_ids": torch.cat(tokens, 1), "attention_mask": torch.cat(mask, 1)}
    with differentiable_attention(lm.model):
        bare, with_padding = (_at_last(lm, batch) for batch in (subject.probe, padded))
    difference = relative_difference(bare, with_padding)
    name = f"padding {side}"
    if difference <= tolerance(bare.dtype):
        return Check(name, Verdict.FINE, f"changes the last position by {difference:.1e}", difference)
    if math.isinf(difference):
        found = f"{PADDING} masked tokens make the last hidden state NaN or infinite"
        remedy = "Take the model in float32, give windows of one length without padding, or pad on the other side."
    else:
        found = f"{PADDING} masked tokens change the last hidden state by {difference:.1e}"
        remedy = "Give windows of one length without padding, or pad on the other side if that is fine."
    return Check(name, Verdict.FAILS, found, difference, remedy)


def head(subject: Subject) -> Check:
    """The logits are U r, or c tanh(U r / c), with r the final hidden state."""
    lm = subject.lm
    unembed = lm.model.get_output_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        given: Tensor = lm.model(**subject.probe).logits
        expected: Tensor = unembed(lm.final_hidden(subject.probe)).to(given.dtype)
    cap = lm.soft_cap
    if cap is not None:
        expected = cap * torch.tanh(expected / cap)
    form = "U r" if cap is None else f"{cap:g} tanh(U r / {cap:g}), linearised exactly at every window"
    difference = relative_difference(given, expected)
    if difference <= tolerance(given.dtype):
        bias = " plus a constant bias, which no kernel sees" if unembed.bias is not None else ""
        return Check("head", Verdict.FINE, f"the logits are {form}{bias} (to {difference:.1e})", difference)
    scale = float((given * expected).sum() / expected.square().sum())
    if relative_difference(given, scale * expected) <= tolerance(given.dtype):
        return Check(
            "head",
            Verdict.NOTE,
            f"the logits are {scale:.6g} times {form}: kernels leave that factor out",
            scale,
            f"Modes stay the same, eigenvalues are {scale**2:.6g} times as large; no Fisher geometry of scaled logits.",
        )
    return Check(
        "head",
        Verdict.FAILS,
        f"the logits differ from {form} by {difference:.1e}: something lies between hidden state and logits",
        difference,
        "No geometry of the logits is right for this model; take the kernel of its outputs with tl.entk.",
    )


def _hidden(lm: LanguageModel, batch: Batch) -> Tensor:
    with torch.no_grad():
        return lm.final_hidden(batch)


def _at_last(lm: LanguageModel, batch: Batch) -> Tensor:
    hidden = _hidden(lm, batch)
    return hidden[torch.arange(len(hidden)), last_positions(batch)]


def _backend(lm: LanguageModel) -> str:
    return str(lm.model.config._attn_implementation)  # type: ignore[union-attr]
