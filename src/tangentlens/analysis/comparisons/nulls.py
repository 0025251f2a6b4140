"""The step that repeats score and share of every feature where what they are said to show cannot be there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int, Shaped
from torch import Generator, Tensor, nn

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.arguments.variants import copied_model, untrained_models, variant
from tangentlens.analysis.case import Case
from tangentlens.analysis.findings import Findings
from tangentlens.analysis.modes.kernel_modes import TOTAL, GroupModes, KernelModes, kernel_modes
from tangentlens.analysis.questions.learned import share
from tangentlens.analysis.questions.scoring import METRICS, choose, held_out, rows_of, space_overlap
from tangentlens.analysis.subject import Split
from tangentlens.controls.null_models import permuted_labels
from tangentlens.errors import InvalidInputError, TangentlensError
from tangentlens.features.functions import random_functions
from tangentlens.models.inputs import Inputs
from tangentlens.progress import Progress
from tangentlens.store.tables import table_parts

REAL = "none"  # the network, its inputs and the feature as they are
PERMUTED_LABELS, PERMUTED_INPUTS = "permuted labels", "permuted inputs"
RANDOM_FEATURES, RANDOM_SUBSPACES = "random features", "random subspaces"
_DRAWS = 20  # of random features and subspaces


@dataclass(frozen=True)
class Null:
    """One null model: modes, and the features that they are compared with, as often as it is drawn.

    Attributes:
        name: of the null model.
        draws: pairs of modes and a map from a feature to the one compared with them.
    """

    name: str
    draws: Sequence[tuple[GroupModes, Callable[[Feature], Feature]]]


def nulls(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Score and share of the total kernel for every feature, and under each null model.

    Null models: each network of `retrained`; one trained on permuted targets, where there is `train`; the network on
    inputs whose columns are permuted independently; features in a random order; random subspaces with the kernel's
    eigenvalues. The table "nulls" has a row for each feature and null ("none" first): feature, null, metric, draws,
    score and share (means over the draws, as in the table "alignment"), and score_high, the largest score of a draw.
    """
    names = [REAL, *(case.subject.retrained or {}), PERMUTED_LABELS, PERMUTED_INPUTS, RANDOM_FEATURES, RANDOM_SUBSPACES]
    notes: list[str] = []
    rows: list[tuple[str, str, str, int, float, float, float]] = []
    progress("nulls", 0, len(names))
    for done, null in enumerate(_nulls(case, kernels.groups[TOTAL], notes), start=1):
        rows += [_row(feature, null, case.halves) for feature in case.features.features]
        progress("nulls", min(done, len(names) - 1), len(names))
    progress("nulls", len(names), len(names))
    order = {each.name: place for place, each in enumerate(case.features.features)}
    rows.sort(key=lambda row: order[row[0]])
    columns = ("feature", "null", "metric", "draws", "score", "score_high", "share")
    arrays, words = table_parts("nulls", dict(zip(columns, zip(*rows, strict=True), strict=True)))
    return Findings(arrays=arrays, words=words, notes=tuple(notes))


def _nulls(case: Case, modes: GroupModes, notes: list[str]) -> Iterator[Null]:
    yield Null(REAL, [(modes, _unchanged)])
    for name, state in (case.subject.retrained or {}).items():
        yield Null(name, [(_total(case, variant(case.model, state, f"retrained[{name!r}]"), case.inputs), _unchanged)])
    yield from _attempt(PERMUTED_LABELS, lambda: _trained_on_permuted(case), notes)
    yield from _attempt(
        PERMUTED_INPUTS,
        lambda: _total(case, case.model, permuted_inputs(case.inputs, case.generator(PERMUTED_INPUTS))),
        notes,
    )
    random = case.generator(RANDOM_FEATURES)
    shuffles = [_shuffle(case.N, random) for _ in range(_DRAWS)]
    yield Null(RANDOM_FEATURES, [(modes, shuffle) for shuffle in shuffles])
    random = case.generator(RANDOM_SUBSPACES)
    yield Null(RANDOM_SUBSPACES, [(_random_modes(modes, case.N, random), _unchanged) for _ in range(_DRAWS)])


def _attempt(name: str, make: Callable[[], GroupModes], notes: list[str]) -> Iterator[Null]:
    """A null model, or a note why it is left out."""
    try:
        yield Null(name, [(make(), _unchanged)])
    except TangentlensError as error:
        notes.append(f"null {name}: not done, {error}")


class _LackingError(TangentlensError):
    """A null model needs what was not given."""


def _trained_on_permuted(case: Case) -> GroupModes:
    """The modes of a network that `train` trained on targets in a random order."""
    if case.subject.train is None or case.targets is None:
        raise _LackingError("needs train= and targets=")
    start = next(iter(untrained_models(case.model, case.subject.untrained, 1, case.options.seed + 1)), None)
    if start is None:
        raise _LackingError("needs untrained= (not every module has reset_parameters())")
    random = case.generator(PERMUTED_LABELS)
    model = copied_model(start)
    targets = permuted_labels(case.targets.to(case.outputs.device), random)
    try:
        returned = case.subject.train(model, case.inputs, targets)
    except Exception as error:  # whatever a user's function raises
        raise InvalidInputError(
            f"it fails on permuted targets: {error}",
            where="train",
            remedy="Give a function of (model, inputs, targets) that returns the trained model.",
        ) from error
    trained = model if returned is None else variant(case.model, returned, "what train() returned")
    return _total(case, trained.train(case.model.training), case.inputs)


def _total(case: Case, model: nn.Module, inputs: Inputs) -> GroupModes:
    """The modes of the sum of all groups' kernels."""
    kernel = replace(case.kernel, groups="all") if isinstance(case.kernel.groups, str) else case.kernel
    found = kernel_modes(model, inputs, kernel, check=False).groups
    if TOTAL not in found:
        raise _LackingError("its kernel is zero")
    return found[TOTAL]


def permuted_inputs(inputs: Inputs, random: Generator) -> Inputs:
    """Inputs whose columns are each put in a random order of their own; masks stay.

    Every column keeps its values; which go together in one input is chance. Of a dict the entries with "mask" in their
    name stay, and everywhere Booleans do.
    """
    if isinstance(inputs, dict):
        return {name: each if "mask" in name.lower() else permuted_rows(each, random) for name, each in inputs.items()}
    if isinstance(inputs, Tensor):
        return permuted_rows(inputs, random)
    return tuple(permuted_rows(each, random) for each in inputs)


def permuted_rows(values: Shaped[Tensor, "N ..."], random: Generator) -> Shaped[Tensor, "N ..."]:
    """Every column of a tensor (its axes behind the first flattened) in an order of its own; Booleans as they are."""
    if values.dtype == torch.bool:
        return values
    columns = values.detach().reshape(len(values), -1).clone()
    for place in range(columns.shape[1]):
        columns[:, place] = columns[torch.randperm(len(columns), generator=random).to(columns.device), place]
    return columns.reshape(values.shape)


def _random_modes(modes: GroupModes, N: int, random: Generator) -> GroupModes:
    """Random functions with the eigenvalues of the modes; at most N - 1."""
    k = min(modes.count, N - 1)
    return replace(modes, values=modes.values[:k], vectors=random_functions(N, k, random))


def _unchanged(feature: Feature) -> Feature:
    return feature


def _shuffle(N: int, random: Generator) -> Callable[[Feature], Feature]:
    """Rows in a random order, the same for every feature; missing values move along."""
    order = torch.randperm(N, generator=random)
    return lambda feature: replace(feature, values=feature.values[order], present=feature.present[order])


def _row(feature: Feature, null: Null, halves: Split) -> tuple[str, str, str, int, float, float, float]:
    drawn = [(modes, change(feature)) for modes, change in null.draws]
    scores = torch.tensor([_score(modes, each, halves) for modes, each in drawn], dtype=torch.float64)
    shares = torch.tensor([share(modes, each.values, each.present.nonzero().flatten()) for modes, each in drawn])
    finite = scores[scores.isfinite()]
    mean, most = (float(finite.mean()), float(finite.max())) if len(finite) else (float("nan"), float("nan"))
    return feature.name, null.name, METRICS[feature.kind], len(drawn), mean, most, float(shares.mean())


def _score(modes: GroupModes, feature: Feature, halves: Split) -> float:
    """The best mode's score, chosen on one half and scored on the other; NaN where a half has one class alone."""
    if feature.kind == "space":
        return space_overlap(modes.vectors, feature)
    if feature.kind == "binary" and not all(_varies(feature, rows) for rows in (halves.train, halves.test)):
        return float("nan")
    return held_out(modes.vectors, feature, choose(modes.vectors, feature, halves), halves)


def _varies(feature: Feature, rows: Int[Tensor, " n"]) -> bool:
    values = feature.values[rows_of(feature, rows)]
    return len(values) > 0 and bool(values.min() < values.max())
