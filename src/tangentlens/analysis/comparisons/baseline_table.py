"""The step that compares the kernel's modes with every other way of finding the features, at one budget."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.case import Case
from tangentlens.analysis.comparisons.baseline_methods import KERNEL, Method, field_of, methods
from tangentlens.analysis.comparisons.paired_scores import Scored, Scorer, bounds, choices, less, mean, p_above, scorer
from tangentlens.analysis.comparisons.sparse_probes import SparseProbe, interval, sparse_probes
from tangentlens.analysis.findings import Findings, merged
from tangentlens.analysis.modes.kernel_modes import TOTAL, KernelModes
from tangentlens.analysis.questions.scoring import METRICS, Choice, choose
from tangentlens.analysis.subject import Split
from tangentlens.progress import Progress, silent
from tangentlens.records import Figure
from tangentlens.statistics.claims import LEAST, verdict
from tangentlens.statistics.corrections import holm_of_known
from tangentlens.store.tables import Column, table_parts

MEANS = "baselines.means"
REFERENCE = "reference"  # the verdict of the row that all others are compared with
_UNITS = {"overlap": "percent"}


@dataclass(frozen=True)
class Row:
    """One method on one feature, or on the mean over features of one metric.

    Attributes:
        method: with its columns.
        feature: its name; empty for a mean.
        features: how many.
        metric: "auroc", "r2" or "overlap".
        scored: on the scoring half.
        difference: the kernel's score less this one; None for the kernel itself.
    """

    method: Method
    feature: str
    features: int
    metric: str
    scored: Scored
    difference: Scored | None

    @property
    def numbers(self) -> tuple[float, float, float, float, float, float]:
        """Score with low and high, difference with low and high; NaN where it is not compared."""
        difference = (math.nan,) * 3 if self.difference is None else (self.difference.value, *bounds(self.difference))
        return self.scored.value, *self.scored.interval(self.metric), *difference


def baseline_table(case: Case, kernels: KernelModes, progress: Progress) -> Findings:
    """Every method at the budget of the kernel's modes, on every feature.

    Choices are made on the choosing half; all scores are of the scoring half, overlaps too. The table "baselines" has a
    row for each method, place and feature: method, where, sees (labels that it is fitted to or picked by), budget,
    feature, metric, score with its 95 % interval low..high, difference (the score of the kernel's modes less this one)
    with difference_low and difference_high, p_corrected (one-sided, that the kernel is no better, by Holm over the
    table), verdict ("holds" where the kernel separates from the method), seconds. "baselines.means" has the means over
    the features of one metric, "sparse_probes" the probes of k columns of each method.
    """
    shared = field_of(case, kernels)
    found = compared(
        methods(shared, kernels),
        case.features.features,
        case.halves,
        case.generator("blocks of the scoring half"),
        expected=2 + 6 * len(shared.sites) + 6,
        progress=progress,
    )
    return merged((found, Findings(notes=tuple(shared.notes))))


def compared(
    all_methods: Iterable[Method],
    features: Sequence[Feature],
    halves: Split,
    generator: Generator,
    *,
    expected: int,
    progress: Progress = silent,
) -> Findings:
    """The tables of `baseline_table` from any methods, the kernel's modes first.

    Args:
        all_methods: columns of a method are formed when it is reached.
        features: that they are scored on.
        halves: to choose on, and to score on.
        generator: of the blocks of the scoring half.
        expected: number of methods, for the progress.
        progress: receives the methods.
    """
    scoring = scorer(halves, generator)
    rows: list[Row] = []
    probes: list[tuple[Method, SparseProbe]] = []
    reference: dict[str, Scored] = {}
    for done, method in enumerate(all_methods):
        progress("baselines", min(done, expected - 1), expected)
        scored = _scored(method, features, scoring)
        reference = reference or scored
        rows += _rows(method, features, scored, reference)
        if method.shared is not None:
            probes += [(method, probe) for probe in sparse_probes(method.shared, features, halves)]
    progress("baselines", expected, expected)
    return merged(
        (
            _table("baselines", [row for row in rows if row.feature]),
            _table(MEANS, [row for row in rows if not row.feature]),
            _probe_table(probes),
        )
    )


def _scored(method: Method, features: Sequence[Feature], scoring: Scorer) -> dict[str, Scored]:
    """Feature -> score on the scoring half."""
    found: dict[str, Scored] = {}
    chosen = {} if method.shared is None else choices(method.shared, features, scoring.halves)
    for feature in features:
        columns = method.columns(feature)
        if feature.kind == "space":
            found[feature.name] = scoring.space(columns, feature)
            continue
        choice = chosen.get(feature.name) or _only_choice(method, columns, feature, scoring)
        found[feature.name] = scoring.chosen(columns, feature, choice)
    return found


def _only_choice(method: Method, columns: torch.Tensor, feature: Feature, scoring: Scorer) -> Choice:
    """A prediction is scored as it is; a direction gets its sign and line on the choosing half."""
    return Choice(0, 1, (0.0, 1.0)) if method.fitted else choose(columns, feature, scoring.halves)


def _rows(
    method: Method, features: Sequence[Feature], scored: Mapping[str, Scored], reference: Mapping[str, Scored]
) -> Iterator[Row]:
    """A row for each feature, and for the mean of each metric."""
    own = method.name == KERNEL and method.where == TOTAL
    for feature in features:
        value = scored[feature.name]
        difference = None if own else less(reference[feature.name], value)
        yield Row(method, feature.name, 1, METRICS[feature.kind], value, difference)
    for kind, metric in METRICS.items():
        names = [each.name for each in features if each.kind == kind and math.isfinite(scored[each.name].value)]
        if names:
            value = mean([scored[name] for name in names])
            difference = None if own else less(mean([reference[name] for name in names]), value)
            yield Row(method, "", len(names), metric, value, difference)


def _table(name: str, rows: Sequence[Row]) -> Findings:
    corrected = _corrected(rows)
    measured = ("score", "low", "high", "difference", "difference_low", "difference_high")
    columns: dict[str, Column] = {
        "method": [each.method.name for each in rows],
        "where": [each.method.where for each in rows],
        "sees": [each.method.sees for each in rows],
        "budget": [each.method.budget for each in rows],
        "feature": [each.feature for each in rows],
        "features": [each.features for each in rows],
        "metric": [each.metric for each in rows],
        **dict(zip(measured, zip(*(each.numbers for each in rows), strict=True), strict=True)),
        "p_corrected": corrected,
        "verdict": [_verdict(each, p) for each, p in zip(rows, corrected, strict=True)],
        "seconds": [each.method.seconds for each in rows],
    }
    columns.pop("feature" if name == MEANS else "features")
    arrays, words = table_parts(name, columns)
    return Findings(arrays=arrays, words=words)


def _least(row: Row) -> float:
    """The least difference that counts: one percentage point of an overlap."""
    return LEAST.get(_UNITS.get(row.metric, ""), 0.0)


def _corrected(rows: Sequence[Row]) -> list[float]:
    """Holm's p over all rows that are compared; NaN for the others."""
    return holm_of_known(
        [
            p_above(row.difference, _least(row)) if row.difference and math.isfinite(row.difference.value) else math.nan
            for row in rows
        ]
    )


def _verdict(row: Row, corrected: float) -> str:
    """Whether the kernel separates from the method."""
    if row.difference is None:
        return REFERENCE
    if not math.isfinite(row.difference.value):
        return "not done"
    low, high = (bound - _least(row) for bound in bounds(row.difference))
    return verdict(Figure(row.difference.value - _least(row), (low, high)), corrected)


def _probe_table(probes: Sequence[tuple[Method, SparseProbe]]) -> Findings:
    intervals = [interval(probe) for _, probe in probes]
    columns: dict[str, Column] = {
        "method": [method.name for method, _ in probes],
        "where": [method.where for method, _ in probes],
        "k": [probe.k for _, probe in probes],
        "feature": [probe.feature for _, probe in probes],
        "metric": [probe.metric for _, probe in probes],
        "score": [probe.scored.value for _, probe in probes],
        "low": [low for low, _ in intervals],
        "high": [high for _, high in intervals],
    }
    arrays, words = table_parts("sparse_probes", columns)
    return Findings(arrays=arrays, words=words)
