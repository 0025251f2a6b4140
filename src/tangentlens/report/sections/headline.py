"""The headline figures against what the paper reports or the experiment expects."""

from tangentlens.paper.experiments import Expectation, departures
from tangentlens.report import labels
from tangentlens.report.about import about
from tangentlens.report.blocks import Block, Lead, Note, Section, Table, Tile, Tiles
from tangentlens.report.numbers import interval, listing, number, observations, several, spread
from tangentlens.store import StoredRun

_TILES = 6  # the first that were measured; the table below has all


def _build(run: StoredRun) -> tuple[Block, ...]:
    expected = about(run).expected
    if not expected:
        return (Note("No experiment states what to expect of this run; all figures are listed below."),)
    different = departures(run.config)
    found = [row for row in expected if row.verdict(run.figures.get(row.key)) != "not measured"]
    tiles = Tiles(tuple(_tile(run, row) for row in (found or expected)[:_TILES]))
    return (Lead(_sentence(run, expected)), tiles, *_caveats(run, different), _table(run, expected))


def _sentence(run: StoredRun, expected: tuple[Expectation, ...]) -> str:
    bounded = [row for row in expected if row.bounded]
    verdicts = [row.verdict(run.figures.get(row.key)) for row in bounded]
    if verdicts and set(verdicts) == {"not measured"}:
        return f"None of the {several(len(bounded), 'figure')} with a bound was measured in this run."
    met = verdicts.count("meets")
    missed = [_miss(run, row) for row, verdict in zip(bounded, verdicts, strict=True) if verdict != "meets"]
    tail = f" The rest: {'; '.join(missed)}." if missed else ""
    return f"{met} of {several(len(bounded), 'figure')} with a bound {'meets' if met == 1 else 'meet'} it.{tail}"


def _miss(run: StoredRun, row: Expectation) -> str:
    """A figure that does not meet its bound, in words."""
    figure = run.figures.get(row.key)
    if figure is None or figure.value is None:
        return f"{labels.figure(row.key)}, {number(None)}"
    return f"{labels.figure(row.key)}, {number(figure.value, figure.unit)}, expected {row.bound}"


def _tile(run: StoredRun, row: Expectation) -> Tile:
    figure = run.figures.get(row.key)
    return Tile(
        label=labels.figure(row.key),
        value=number(figure.value, figure.unit) if figure else number(None),
        spread=spread(figure),
        bound=row.bound,
        verdict=row.verdict(figure) if row.bounded else "",
    )


def _table(run: StoredRun, expected: tuple[Expectation, ...]) -> Table:
    columns = ("Figure", "Value", "95 % interval", "n", "Paper", "Bound on the mean", "Verdict", "Source of the bound")
    rows = [_row(run, row) for row in expected]
    return Table(columns, rows, "Headline figures beside what was expected of them", numeric=(1, 2, 3, 4))


def _row(run: StoredRun, row: Expectation) -> tuple[str, ...]:
    figure = run.figures.get(row.key)
    verdict = row.verdict(figure) if row.bounded else "no bound"
    return (
        labels.figure(row.key),
        number(figure.value, figure.unit) if figure else number(None),
        interval(figure),
        observations(figure),
        number(row.paper, figure.unit if figure else "") if row.paper is not None else "",
        row.bound,
        f"{verdict}; the interval includes the bound" if row.undecided(figure) else verdict,
        row.source,
    )


def _caveats(run: StoredRun, different: tuple[str, ...]) -> tuple[Note, ...]:
    notes = []
    if different:
        notes.append(
            f"The bounds were stated for the experiment's own config; this run differs in {listing(different)}, "
            "so they say little about it."
        )
    if len(run.seeds) == 1:
        notes.append("The bounds are on means over several seeds; one seed can miss or meet them by chance.")
    return tuple(Note(text) for text in notes)


def _has_no_verdicts(run: StoredRun) -> bool:
    return not any("table.alignment" in record.words for record in run.seeds)


SECTION = Section("headline", "Headline figures", _build, when=_has_no_verdicts)
