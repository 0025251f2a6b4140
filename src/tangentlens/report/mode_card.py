"""One mode of an analysis as a record that a notebook draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from tangentlens.errors import InvalidInputError
from tangentlens.report.cards.histograms import histograms
from tangentlens.report.cards.modes import METRICS
from tangentlens.report.mode_run import ModeRun, StoredInputs, picture_address
from tangentlens.report.numbers import plain
from tangentlens.report.visible_text import visible_token

_Row = Mapping[str, str | float | int]
_LISTED = 5  # explanations that are drawn


@dataclass(frozen=True)
class ExtremeInput:
    """An input at one end of a mode.

    Attributes:
        number: its place among the inputs.
        score: of the mode.
        label: its class; "" where the run has none.
        shown: PNG of a picture, a string, numbers by column, or (T, c) numbers; None where inputs have no look.
    """

    number: int
    score: float
    label: str
    shown: bytes | str | Mapping[str, float] | np.ndarray | None = field(repr=False)


@dataclass(frozen=True)
class ModeCard:
    """A mode, with what is known of it.

    Attributes:
        group, mode: which.
        value, residual, share: eigenvalue, its relative residual, its share of the trace.
        mean, skew: of its scores.
        resolved: False where only the space that it spans with its neighbours is known.
        family: "group mode" of its family's representative.
        highest, lowest: the most extreme inputs, the most extreme first.
        scores: (N,) of all inputs.
        explanation: the facts that it goes with, best first: rows of the table "explanations".
        alignment: the features that it was chosen for: rows of the table "alignment".
    """

    group: str
    mode: int
    value: float
    residual: float
    share: float
    mean: float
    skew: float
    resolved: bool
    family: str
    highest: tuple[ExtremeInput, ...] = field(repr=False)
    lowest: tuple[ExtremeInput, ...] = field(repr=False)
    scores: np.ndarray = field(repr=False)
    explanation: tuple[_Row, ...] = field(repr=False)
    alignment: tuple[_Row, ...] = field(repr=False)

    def _repr_html_(self) -> str:
        """The card as HTML that needs nothing else."""
        facts = [(_percent(row), row) for row in self.explanation[:_LISTED]]
        return _TEMPLATES.get_template("mode_card.html.jinja").render(
            card=self,
            ends=(("Highest scores", self.highest), ("Lowest scores", self.lowest)),
            facts=facts,
            metrics={**METRICS, "rank correlation": "r"},
            histogram=_histogram(self.scores),
        )


def mode_card(run: ModeRun, mode: int, group: str) -> ModeCard:
    """The card of a mode.

    Raises:
        InvalidInputError: the run has no such group, or the group no such mode.
    """
    row = run.row(group, mode)
    if row is None:
        count = sum(each["group"] == group for each in run.modes)
        if not count:
            raise InvalidInputError(
                f"the run has no group {group!r}", where="group", remedy=f"There are: {', '.join(run.groups)}."
            )
        raise InvalidInputError(
            f"{group} has no mode {mode!r}", where="mode", remedy=f"Give a number from 0 to {count - 1}."
        )
    scores = run.record.array(f"kernel.{group}.vectors")[:, mode]
    ends = run.record.array(f"modes.{group}.extremes")[mode].tolist()
    half = len(ends) // 2
    return ModeCard(
        group, mode, float(row["value"]), float(row["residual"]), float(row["share"]), float(row["mean"]),
        float(row["skew"]), not row["unresolved"], str(row["family"]),
        tuple(_extreme(run, number, scores) for number in ends[:half]),
        tuple(_extreme(run, number, scores) for number in ends[half:]),
        scores,
        tuple(map(_python, run.rows("explanations", group, mode))),
        tuple(map(_python, run.rows("alignment", group, mode))),
    )  # fmt: skip


def _python(row: _Row) -> _Row:
    """A row of numbers of Python, not of NumPy."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}


def _extreme(run: ModeRun, number: int, scores: np.ndarray) -> ExtremeInput:
    label = run.classes[number] if run.classes else ""
    return ExtremeInput(number, float(scores[number]), label, _shown(run.inputs, number))


def _shown(inputs: StoredInputs, number: int) -> bytes | str | Mapping[str, float] | np.ndarray | None:
    place = inputs.places.get(number)
    if place is None:
        return None
    if inputs.kind == "image":
        return inputs.pictures[place]
    if inputs.kind == "text":
        return inputs.texts[place]
    if inputs.numbers is None:
        return None
    row: np.ndarray = inputs.numbers[place]
    return dict(zip(inputs.columns, row.tolist(), strict=True)) if inputs.kind == "table" else row


def _percent(row: _Row) -> str:
    if float(row["extremes"]) <= float(row["base"]):
        return "no more than elsewhere among the extremes"
    quarter = f" in its {row['quarter']}" if row["quarter"] else ""
    return f"{100 * float(row['extremes']):.0f} % of the {row['end']}{quarter}, {100 * float(row['base']):.0f} % of all"


def _histogram(scores: np.ndarray) -> str:
    """The outline of a histogram, in an SVG path of width 1 a bin and height 1."""
    counts = histograms(scores[None, :, None], ["all"] * len(scores)).counts[0, 0, 0]
    steps = "".join(f"V{1 - count / counts.max():.3f}H{bin_ + 1}" for bin_, count in enumerate(counts.tolist()))
    return f"M0 1{steps}V1Z"


def _polylines(series: np.ndarray) -> list[str]:
    """Points of each line of a (T, c) series, in a box of width 100 and height 20."""
    T, low, high = len(series), float(series.min()), float(series.max())
    x = np.linspace(0, 100, T)
    y = 20 * (1 - (series - low) / ((high - low) or 1.0))
    return [" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, line, strict=True)) for line in y.T]


def _is_series(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _is_picture(value: object) -> bool:
    return isinstance(value, bytes)


def _three(value: float) -> str:
    return plain(value, decimals=3)


def _columns(items: Sequence[ExtremeInput]) -> list[str]:
    first = items[0].shown if items else None
    return list(first) if isinstance(first, Mapping) else []


_TEMPLATES = Environment(
    loader=PackageLoader("tangentlens.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "address": picture_address, "lines": _polylines, "three": _three, "visible": visible_token, "columns": _columns,
}  # fmt: skip
_TEMPLATES.tests |= {"series": _is_series, "picture": _is_picture}
