"""Tables as files: what goes in comes out, and nothing in a cell is ever code."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.errors import StoreError
from tangentlens.report.blocks import Table
from tangentlens.report.table_files import tables_of, write_tables
from tangentlens.report.table_formats import FORMATS, as_csv, as_latex, as_markdown
from tangentlens.report.visible_text import visible
from tangentlens.store import open_run
from tests.support.synthetic_run import store_run, synthetic_measurement

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def table(*cells: str) -> Table:
    return Table(("key", "value"), [("a", cell) for cell in cells], "A caption", numeric=(1,))


@given(st.lists(CELLS.filter(bool), min_size=1, max_size=4))
def test_csv_reads_back_as_it_was_but_for_the_apostrophe(cells):
    head, *rows = csv.reader(io.StringIO(as_csv(table(*cells)), newline=""))
    assert head == ["key", "value"]
    for (_, found), cell in zip(rows, cells, strict=True):
        assert found in (visible(cell), f"'{visible(cell)}")


@given(st.sampled_from("=+-@＝＋－＠"), CELLS)
def test_no_cell_of_a_csv_begins_a_formula(sign, rest):
    _, (_, found) = csv.reader(io.StringIO(as_csv(table(sign + rest)), newline=""))
    assert found.startswith("'") or re.fullmatch(r"[-+][\d. to%smnhe+-]+", found)


@pytest.mark.parametrize("cell", ["-0.5", "-1.2e-07", "-0.3 to 0.4", "-3.0 %", "94.5 %", "-4 min"])
def test_numbers_stay_numbers_in_a_csv(cell):
    assert f"a,{cell}\n" in as_csv(table(cell))


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "-1+cmd|' /C calc'!A0", "+A1", " =1", "-2-3"])
def test_formulas_become_text_in_a_csv(cell):
    assert next(csv.reader([as_csv(table(cell)).splitlines()[1]])) == ["a", f"'{cell}"]


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_markdown_keeps_its_columns_and_holds_no_markup(cells):
    lines = as_markdown(table(*cells, "x")).split("\n")
    rows = lines[2:-1]
    assert len(rows) == 2 + len(cells) + 1
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3 for row in rows)
    assert not any(re.search(r"(?<!\\)(?:\\\\)*[<`]", row) for row in rows)


def test_markdown_sets_numbers_flush_right():
    assert as_markdown(table("1")).split("\n")[3] == "| --- | ---: |"


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_latex_keeps_its_columns_and_runs_no_command_of_a_cell(cells):
    text = as_latex(table(*cells, "x"))
    body = text.split("\\hline\n")[2].splitlines()
    assert len(body) == len(cells) + 1
    for line in body:
        assert line.endswith("\\\\")
        assert len(re.findall(r"(?<!\\)&", line)) == 1
        commands = set(re.findall(r"\\([a-zA-Z]+)", line))
        assert commands <= {name for value in ESCAPES for name in re.findall(r"\\([a-zA-Z]+)", value)}


ESCAPES = (
    r"\textbackslash \textasciicircum \textasciitilde \textless \textgreater \textbar \textquotedbl \textquotesingle "
    r"\textasciigrave \pm \times \cdot \surd \le \ge \to \infty \lambda \dots",
)


def test_latex_of_what_hurts():
    text = as_latex(table(r"\input{/etc/passwd} 50% & $x_1$ #~^"))
    assert r"\textbackslash{}input\{/etc/passwd\} 50\% \& \$x\_1\$ \#\textasciitilde{}\textasciicircum{} \\" in text


def test_latex_sets_a_minus_before_numbers_and_no_dash_in_text():
    assert "$-$0.5" in as_latex(table("-0.5"))
    assert "a-{}-b" in as_latex(table("a--b"))


def test_every_table_of_a_report_becomes_three_files(tmp_path):
    run = open_run(store_run(tmp_path / "run", [synthetic_measurement(seed) for seed in range(3)]))
    written = write_tables(run, tmp_path / "new" / "tables")
    names = set(tables_of(run))
    assert {"results", "figures", "cost"} <= names
    assert {path.name for path in written} == {f"{name}.{ending}" for name in names for ending in FORMATS}
    text = (tmp_path / "new" / "tables" / "results.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["figure"] for row in rows} == set(run.figures)
    for row in rows:
        figure = run.figures[row["figure"]]
        assert float(row["value"]) == figure.value  # unrounded
        assert row["seeds"] == "0 1 2"
        if figure.interval:
            assert (float(row["low"]), float(row["high"])) == figure.interval


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    run = open_run(store_run(tmp_path / "run", [synthetic_measurement(0)]))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_tables(run, tmp_path / "file" / "tables")
