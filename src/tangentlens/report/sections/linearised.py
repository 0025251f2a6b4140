"""The linearised predictor beside the network."""

from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import number, with_spread
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import Linearised

_POINTS = (("trained", "around the trained network"), ("zero", "around zero"))
_SCORES = (("r2", "R²"), ("loss_ratio", "Loss ratio"), ("accuracy_gap", "Accuracy gap"))


def _build(run: StoredRun) -> tuple[Block, ...]:
    rows = [(title, *(_cell(run, str(Linearised(point, score))) for score, _ in _SCORES)) for point, title in _POINTS]
    return (
        Lead(_sentence(run)),
        Table(
            ("Linearised", *(title for _, title in _SCORES)),
            rows,
            "Kernel ridge regression with the kernel of the trained network",
            (1, 2, 3),
        ),
        Note(
            "R²: share of the variance of the network's outputs on unseen pairs that the predictor explains; negative "
            "where it does worse than their mean. Loss ratio: the predictor's test loss over the network's. "
            "Accuracy gap: percentage points of test accuracy that the network is ahead."
        ),
    )


def _sentence(run: StoredRun) -> str:
    trained, zero = (run.figures.get(str(Linearised(point, "r2"))) for point, _ in _POINTS)
    return (
        f"The predictor linearised around the trained network has R² {with_spread(trained)} with the network's "
        f"outputs, the one around zero {with_spread(zero)}."
    )


def _cell(run: StoredRun, key: str) -> str:
    figure = run.figures.get(key)
    if figure is None or figure.value is None:
        return number(None)
    return with_spread(figure)


def _linearised(run: StoredRun) -> bool:
    return bool(Linearised.among(run.figures))


SECTION = Section("linearised", "The linearised predictor", _build, when=_linearised)
