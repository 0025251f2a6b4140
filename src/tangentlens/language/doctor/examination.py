"""All checks of a model, in order; one that builds on a failed check is not made."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tangentlens.errors import InvalidInputError, TangentlensError, UnsupportedModelError
from tangentlens.language.doctor import cost, passes, weights
from tangentlens.language.doctor.adjointness import adjointness
from tangentlens.language.doctor.record import Check, Examination, Verdict
from tangentlens.language.doctor.subject import PADDING, Subject, Task
from tangentlens.language.model import LanguageModel, language_model
from tangentlens.progress import Progress, silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Step:
    """A check, and the names of those without which it would mean nothing."""

    name: str
    look: Callable[[Subject], Check]
    needs: tuple[str, ...] = ()


_STEPS = (
    _Step("dropout", passes.dropout),
    _Step("determinism", passes.determinism),
    _Step("causality", passes.causality, ("determinism",)),
    _Step("attention", passes.attention, ("determinism",)),
    _Step("padding left", passes.padding_left, ("attention",)),
    _Step("padding right", passes.padding_right, ("attention",)),
    _Step("head", passes.head, ("determinism",)),
    _Step("tied weights", weights.ties),
    _Step("stages", weights.stages, ("dropout", "attention")),
    _Step("factors of weights", weights.every_weight, ("stages",)),
    _Step("factors of down_proj", weights.mlp_outputs, ("stages",)),
    _Step("adjointness", adjointness, ("stages",)),
    _Step("memory of weights", cost.memory_of_weights, ("stages",)),
    _Step("memory of down_proj", cost.memory_of_mlp_outputs, ("stages",)),
    _Step("time", cost.duration, ("stages",)),
)


def examine(
    source: str | Path | nn.Module,
    *,
    revision: str | None = None,
    windows: int = 256,
    length: int = 64,
    directions: int = 24,
    seed: int = 0,
    progress: Progress = silent,
) -> Examination:
    """Check the requirements of a sweep on a few short windows of random tokens; the model is left as it was found.

    Args:
        source: what `tangentlens.language_model` takes.
        revision: of a hub model.
        windows, length, directions: the sweep whose memory and time are predicted.
        seed: of tokens and random directions; the generators of torch are left as they were.
        progress: receives the conversion of a GGUF file and every check.

    Raises:
        InvalidInputError: a number is too small, or nothing can be loaded from there.
        MissingExtraError: what loads the model is not installed.
    """
    for name, value, least in (("windows", windows, 1), ("length", length, 2), ("directions", directions, 1)):
        if value < least:
            raise InvalidInputError(f"{name} = {value}", where="doctor", remedy=f"Give at least {least}.")
    asked = str(source) if isinstance(source, str | Path) else type(source).__name__
    try:
        lm = language_model(source, revision=revision, progress=progress)
    except UnsupportedModelError as error:
        return Examination(asked, (_refusal("chain", error),))
    with torch.random.fork_rng(devices=[]):
        return Examination(asked, _all_checks(Subject(lm, Task(windows, length, directions), seed), progress))


def _all_checks(subject: Subject, progress: Progress) -> tuple[Check, ...]:
    found = {"chain": _chain(subject.lm)}
    limit = subject.positions
    if limit is not None and limit < max(subject.task.length, 2 + PADDING):
        found["length"] = Check(
            "length",
            Verdict.FAILS,
            f"windows of {subject.task.length} tokens are longer than the {limit} positions of the model's config",
            limit,
            f"Give --length {limit} or less.",
        )
        return tuple(found.values())
    unusable: set[str] = set()
    for done, step in enumerate(_STEPS):
        progress("checks", done, len(_STEPS))
        missing = [name for name in step.needs if name in unusable]
        found[step.name] = _left_out(step, missing) if missing else _made(step, subject)
        if missing or found[step.name].verdict is Verdict.FAILS:
            unusable.add(step.name)
    progress("checks", len(_STEPS), len(_STEPS))
    return tuple(found.values())


def _left_out(step: _Step, missing: list[str]) -> Check:
    return Check(step.name, Verdict.NOTE, f"not looked at, for it builds on: {', '.join(missing)}")


def _made(step: _Step, subject: Subject) -> Check:
    try:
        return step.look(subject)
    except TangentlensError as error:
        return _refusal(step.name, error)
    except Exception as error:  # whatever a stranger's model raises is a finding
        _log.info("%s", step.name, exc_info=True)
        what = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        return Check(step.name, Verdict.FAILS, what, None, "Run it again with --verbose for the traceback.")


def _refusal(name: str, error: TangentlensError) -> Check:
    place = f" [{error.where}]" if error.where else ""
    return Check(name, Verdict.FAILS, f"{error.what}{place}", None, error.remedy)


def _chain(lm: LanguageModel) -> Check:
    first, last = lm.blocks[0][0], lm.blocks[-1][0]
    vocabulary, d = lm.unembedding.shape
    found = (
        f"{type(lm.model).__name__}: {len(lm.blocks)} blocks from {first} to {last}, then "
        f"{type(lm.final_norm).__name__}; d_model {d}, vocabulary {vocabulary}"
    )
    note = lm.source.note if lm.source else ""
    if note:
        return Check("chain", Verdict.NOTE, f"{found}; {note}", len(lm.blocks))
    return Check("chain", Verdict.FINE, found, len(lm.blocks))
