"""Every way of finding the features at one budget."""

from tangentlens.report import labels
from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.numbers import interval, number
from tangentlens.store import StoredRun
from tangentlens.store.figure_keys import BASELINE, BEST_LAYER, MODES, RANDOM, Ranked, RankedCost

_METHODS = {
    MODES: "eNTK, leading modes",
    "conjugate_kernel": "conjugate kernel (last features, no gradient)",
    "loss_kernel": "kernel of the loss",
    RANDOM: "random functions",
    "supervised_probe": "supervised linear probe (held-out rows)",
    BEST_LAYER: "PCA, layer picked on the train rows",
}


def _build(run: StoredRun) -> tuple[Block, ...]:
    families, methods = _families(run), _methods(run)
    if not families or len(_unsupervised(methods)) < 2:
        return (Note("Not shown: the run does not hold the figures leaderboard.* of the eNTK and of another method."),)
    columns = ("Method", "Dimension", *(labels.family(f) for f in families), "Seconds")
    ordered = sorted(methods, key=lambda method: -sum(_value(run, method, family) for family in families))
    rows = [_row(run, method, families) for method in ordered]
    return (
        Lead(" ".join(_sentence(run, methods, family) for family in families)),
        Table(
            columns, rows, "Percent of each feature family inside as many functions of the input", (1, *_last(columns))
        ),
        Note(
            "Every method gives at most as many functions of the input as the eNTK row has modes; a family's "
            "percent is the share of its space inside their span, with the 95 % interval over seeds. A method "
            "with fewer has no more. The probe is another measure: variance of the features that it predicts on "
            "rows it has not seen. Seconds are wall time for one network. The rows are sorted by the sum of their"
            " percents."
        ),
    )


def _last(columns: tuple[str, ...]) -> range:
    return range(2, len(columns))


def _methods(run: StoredRun) -> list[str]:
    return [key.method for key in RankedCost.among(run.figures) if key.cost == "dimension"]


def _families(run: StoredRun) -> list[str]:
    families = [key.family for key in Ranked.among(run.figures) if key.method == MODES]
    return sorted(families, key=labels.order)


def _unsupervised(methods: list[str]) -> list[str]:
    return [method for method in methods if method != "supervised_probe"]


def _value(run: StoredRun, method: str, family: str) -> float:
    value = run.figure(str(Ranked(method, family))).value
    return 0.0 if value is None else value


def _sentence(run: StoredRun, methods: list[str], family: str) -> str:
    """Which unsupervised method holds most of a family, and where the kernel stands."""
    unsupervised = _unsupervised(methods)
    best = max(unsupervised, key=lambda method: _value(run, method, family))
    own = number(_value(run, MODES, family), "percent")
    if best == MODES:
        rivals = [method for method in unsupervised if method != MODES]
        second = max(rivals, key=lambda method: _value(run, method, family))
        other = f"{_name(second)} {number(_value(run, second, family), 'percent')}"
        return f"Of the features of {labels.family(family)} the eNTK's modes hold most, {own}; next comes {other}."
    most = number(_value(run, best, family), "percent")
    return f"Of the features of {labels.family(family)} {_name(best)} holds most, {most}; the eNTK's modes {own}."


def _name(method: str) -> str:
    if method in _METHODS:
        return _METHODS[method]
    kind, _, layer = method.partition(".")
    return {BASELINE: f"PCA of the {layer}", "gradient_pca": f"gradient PCA at the {layer}"}.get(kind, method)


def _row(run: StoredRun, method: str, families: list[str]) -> tuple[str, ...]:
    figures = [run.figure(str(Ranked(method, family))) for family in families]
    cells = [_cell(number(f.value, f.unit), interval(f)) for f in figures]
    seconds = run.figure(str(RankedCost(method, "seconds")))
    dimension = run.figure(str(RankedCost(method, "dimension")))
    return (_name(method), number(dimension.value, "count"), *cells, number(seconds.value, "seconds"))


def _cell(value: str, spread: str) -> str:
    return f"{value} ({spread})" if spread else value


def _ranked(run: StoredRun) -> bool:
    return bool(Ranked.among(run.figures))


SECTION = Section("leaderboard", "Against other methods", _build, when=_ranked)
