"""The checkpoints that a user gives, in one form: a step, how its model is loaded, and what is known of it already."""

import glob
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from tangentlens.analysis.arguments.variants import variant
from tangentlens.errors import InvalidInputError

_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_FORMS = (
    "Give step -> state (a state dict, a file, a module or a function), a folder, a glob, a sequence of files, or "
    "(names, function from a name to a state)."
)
KNOWN = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        step: epoch or step.
        load: from the user's model to the model at that step.
        known: what its owner measured: names of KNOWN; accuracies in percent.
    """

    step: float
    load: Callable[[nn.Module], nn.Module] = field(repr=False)
    known: Mapping[str, float] = field(default_factory=dict)


def read_checkpoints(checkpoints: Any) -> tuple[Checkpoint, ...]:
    """Checkpoints in the order of their steps; nothing is loaded.

    Args:
        checkpoints: a mapping of steps to states, or to pairs (state, {"test_accuracy": ...}); a folder, a glob or a
            sequence of files, whose steps are the last numbers in their names; or a pair of a sequence of names or
            numbers (revisions, for example) and a function from one of them to a state. Accuracies are in percent,
            or shares where none of them exceeds 1.

    Raises:
        InvalidInputError: it is none of these, a name holds no number, or two steps are equal.
    """
    found = _found(checkpoints)
    if not found:
        raise InvalidInputError("there is no checkpoint", where="checkpoints", remedy=_FORMS)
    ordered = sorted(found, key=lambda each: each.step)
    twice = [a.step for a, b in pairwise(ordered) if a.step == b.step]
    if twice:
        raise InvalidInputError(
            f"two checkpoints have the step {twice[0]:g}", where="checkpoints", remedy="Give each step once."
        )
    return tuple(_in_percent(ordered))


def _found(checkpoints: Any) -> list[Checkpoint]:
    """By the form in which they are given; in any order."""
    if isinstance(checkpoints, Mapping):
        return [_given(step, value) for step, value in checkpoints.items()]
    if isinstance(checkpoints, str | Path):
        return [_file(path) for path in _matching(checkpoints)]
    if _with_loader(checkpoints):
        names, loader = checkpoints
        return [_from_loader(name, loader) for name in names]
    if isinstance(checkpoints, Sequence) and all(isinstance(each, str | Path) for each in checkpoints):
        return [_file(Path(each)) for each in checkpoints]
    raise InvalidInputError(f"a {type(checkpoints).__name__} is no checkpoints", where="checkpoints", remedy=_FORMS)


def _with_loader(checkpoints: Any) -> bool:
    return (
        isinstance(checkpoints, tuple)
        and len(checkpoints) == 2
        and isinstance(checkpoints[0], Sequence)
        and not isinstance(checkpoints[0], str)
        and callable(checkpoints[1])
    )


def _given(step: Any, value: Any) -> Checkpoint:
    where = f"checkpoints[{step!r}]"
    known: dict[str, float] = {}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Mapping):
        value, known = value[0], _known(value[1], where)
    if isinstance(value, str | Path) and not Path(value).is_file():
        raise InvalidInputError(f"there is no file {value}", where=where, remedy="Give a file of a state dict.")
    if not (isinstance(value, nn.Module | Mapping | str | Path) or callable(value)):
        raise InvalidInputError(f"a {type(value).__name__} is no state of a model", where=where, remedy=_FORMS)
    return Checkpoint(_step(step), partial(variant, state=value, where=where), known)


def _known(facts: Mapping[Any, Any], where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in facts.items():
        key = "test_accuracy" if name == "accuracy" else name
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if key not in KNOWN or not math.isfinite(number):
            raise InvalidInputError(
                f"{name}={value!r} is not understood", where=where, remedy=f"Give numbers for {', '.join(KNOWN)}."
            )
        found[key] = number
    return found


def _from_loader(name: Any, loader: Callable[[Any], Any]) -> Checkpoint:
    where = f"checkpoints, {name!r}"

    def load(model: nn.Module) -> nn.Module:
        return variant(model, loader(name), where)

    return Checkpoint(_step(name), load)


def _file(path: Path) -> Checkpoint:
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}", where="checkpoints", remedy=_FORMS)
    return Checkpoint(_step(path.name), partial(variant, state=path, where="checkpoints"))


def _matching(pattern: str | Path) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix in _ENDINGS]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(each) for each in glob.glob(str(pattern), recursive=True)]
    if not found:
        raise InvalidInputError(f"no checkpoint is at {pattern}", where="checkpoints", remedy=_FORMS)
    return found


def _step(name: Any) -> float:
    """A number, or the last number in a name without its ending."""
    if isinstance(name, int | float) and not isinstance(name, bool) and math.isfinite(name):
        return float(name)
    stem = str(name)
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    numbers = re.findall(r"\d+(?:\.\d+)?", stem)
    if not numbers:
        raise InvalidInputError(
            f"the name {name!r} holds no number", where="checkpoints", remedy="Give step -> state, or number the files."
        )
    return float(numbers[-1])


def _in_percent(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Accuracies as shares become percent: none exceeds 1, over all checkpoints."""
    given = [value for each in checkpoints for name, value in each.known.items() if name.endswith("accuracy")]
    if not given or max(given) > 1:
        return list(checkpoints)
    return [
        Checkpoint(
            each.step,
            each.load,
            {name: 100 * value if name.endswith("accuracy") else value for name, value in each.known.items()},
        )
        for each in checkpoints
    ]
