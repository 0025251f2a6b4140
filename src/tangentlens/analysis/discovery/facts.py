"""Facts about every input that are at hand: what a mode without a name may turn out to be about."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tangentlens.analysis.arguments.features import MOST_CLASSES, FeatureSet
from tangentlens.analysis.case import Case
from tangentlens.analysis.subject import Split

Source = Literal["feature", "target", "prediction", "error", "input", "token", "text", "model"]
_MOST_COLUMNS = 64
_MOST_CLASSES = 12  # of a label that colours inputs
_MOST_OUTPUTS = 16
_FEWEST = 3  # inputs with a fact, and without it, in either half


@dataclass(frozen=True)
class Fact:
    """One fact.

    Attributes:
        name: "digit = 3", "brightness".
        source: where it comes from.
        binary: true or false of an input, else a number.
        values: (N,) float64; 0 where there is none.
        present: (N,) the inputs that have one.
    """

    name: str
    source: Source
    binary: bool
    values: Float[Tensor, " N"]
    present: Bool[Tensor, " N"]


def facts_at_hand(case: Case) -> tuple[Fact, ...]:
    """Features, targets, predictions, errors, columns, brightness and length, as far as the case has them.

    What is the same for nearly all inputs of a half is left out, and what repeats an earlier fact.
    """
    found = list(feature_facts(case.features))
    for source, parts in (
        ("target", _targets(case)), ("prediction", _predictions(case)), ("error", _errors(case)),
        ("input", _inputs(case)),
    ):  # fmt: skip
        found += [fact_of(name, source, values) for name, values in parts]  # type: ignore[arg-type]
    return usable(found, case.halves)


def feature_facts(features: FeatureSet) -> Iterator[Fact]:
    """The features that are no spaces."""
    for each in features.features:
        if each.kind != "space":
            yield Fact(each.name, "feature", each.kind == "binary", each.values[:, 0], each.present)


def fact_of(name: str, source: Source, values: Tensor) -> Fact:
    """A fact that every input has."""
    column = values.detach().cpu().to(torch.float64)
    binary = bool(((column == 0) | (column == 1)).all())
    return Fact(name, source, binary, column, torch.ones(len(column), dtype=torch.bool))


def usable(facts: Sequence[Fact], halves: Split) -> tuple[Fact, ...]:
    """The facts that vary within both halves and do not repeat an earlier one."""
    return _distinct([fact for fact in facts if _varies(fact, halves)])


def classes_of(case: Case) -> tuple[str, tuple[str, ...]] | None:
    """The name of a label with few classes and the class of every input: the targets', or a feature's."""
    found = feature_classes(case.features)
    if found is not None:
        return found
    targets = case.targets
    if targets is None or targets.ndim != 1 or targets.is_floating_point() or len(targets.unique()) > _MOST_CLASSES:
        return None
    return "target", tuple(str(int(each)) for each in targets)


def feature_classes(features: FeatureSet) -> tuple[str, tuple[str, ...]] | None:
    """The name of the first feature with few classes, and the class of every input."""
    by_name = {each.name: each for each in features.features}
    for family, names in features.classes.items():
        columns = [by_name[name] for name in names if name in by_name]
        if len(columns) == len(names) <= _MOST_CLASSES:
            table = torch.stack([each.values[:, 0] for each in columns], dim=1)
            have = columns[0].present & (table.sum(dim=1) > 0)
            short = [name.removeprefix(f"{family} = ") for name in names]
            words = (short[int(row.argmax())] if there else "none" for row, there in zip(table, have, strict=True))
            return family, tuple(words)
    return None


def _targets(case: Case) -> Iterator[tuple[str, Tensor]]:
    targets = case.targets
    if targets is None:
        return
    if targets.ndim == 1 or targets.shape[1:].numel() == 1:
        yield from _classes("target", targets.flatten())
    elif targets.ndim == 2:
        for place, column in enumerate(targets[:, :_MOST_OUTPUTS].T):
            yield f"target {place}", column


def _classes(name: str, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    """An indicator for each class of a label with few; a number as it is."""
    distinct = values.unique()
    if values.is_floating_point() or len(distinct) > MOST_CLASSES or distinct.tolist() == [0, 1]:
        yield name, values
        return
    for each in distinct.tolist():
        yield f"{name} = {each}", values == each


def _classifies(case: Case) -> bool:
    """Whether the largest output is the model's answer."""
    integers = case.targets is None or (case.targets.ndim == 1 and not case.targets.is_floating_point())
    return case.outputs.shape[1] > 1 and integers


def _predictions(case: Case) -> Iterator[tuple[str, Tensor]]:
    outputs = case.outputs
    if _classifies(case):
        answers = outputs.argmax(dim=1)
        for each in answers.unique().tolist()[:MOST_CLASSES]:
            yield f"predicted = {each}", answers == each
        return
    for place, column in enumerate(outputs[:, :_MOST_OUTPUTS].T):
        yield ("output" if outputs.shape[1] == 1 else f"output {place}"), column


def _errors(case: Case) -> Iterator[tuple[str, Tensor]]:
    if case.targets is None or case.example_loss is None:
        return
    if _classifies(case):
        yield "wrong", case.outputs.argmax(dim=1).cpu() != case.targets.flatten()
    yield "loss", case.example_loss(case.outputs, case.targets.to(case.outputs.device))


def _inputs(case: Case) -> Iterator[tuple[str, Tensor]]:
    shown = case.shown
    if shown is not None and shown.kind == "table" and shown.values is not None and len(shown.columns) <= _MOST_COLUMNS:
        yield from zip(shown.columns, shown.values.T, strict=True)
    if shown is not None and shown.kind == "image" and shown.values is not None:
        yield "brightness", shown.values.flatten(1).to(torch.float64).mean(dim=1)
    length = _lengths(case.inputs)
    if length is not None:
        yield "length", length


def _lengths(inputs: Tensor | Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor | None:
    """Tokens of every input: those that a mask keeps, or that are not zero."""
    if isinstance(inputs, Mapping) and "attention_mask" in inputs and inputs["attention_mask"].ndim == 2:
        mask = inputs["attention_mask"]
        return (mask if mask.dtype == torch.bool else mask > 0).sum(dim=1)
    tensors = [inputs] if isinstance(inputs, Tensor) else inputs.values() if isinstance(inputs, Mapping) else inputs
    tokens = next((each for each in tensors if each.ndim == 2 and not each.is_floating_point()), None)
    if tokens is None or tokens.dtype == torch.bool:
        return None
    return (tokens != 0).sum(dim=1)


def _varies(fact: Fact, halves: Split) -> bool:
    for rows in (halves.train, halves.test):
        values = fact.values[rows][fact.present[rows]]
        if len(values) < 2 * _FEWEST or not bool(values.isfinite().all()) or bool((values == values[0]).all()):
            return False
        if fact.binary and not _FEWEST <= int(values.sum()) <= len(values) - _FEWEST:
            return False
    return True


def _distinct(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    kept: list[Fact] = []
    for fact in facts:
        same = (torch.equal(fact.values, each.values) and torch.equal(fact.present, each.present) for each in kept)
        if not any(same):
            kept.append(fact)
    names = [fact.name for fact in kept]
    return tuple(
        fact if names.count(fact.name) == 1 else Fact(f"{fact.name} ({fact.source})", fact.source, *_rest(fact))
        for fact in kept
    )


def _rest(fact: Fact) -> tuple[bool, Tensor, Tensor]:
    return fact.binary, fact.values, fact.present
