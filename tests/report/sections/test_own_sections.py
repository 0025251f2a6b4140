"""Sections on a user's model: a table says what the stored run holds, and hostile names of features are only text."""

import math
import re

import pytest
import torch

from tangentlens.report.blocks import Block, Lead, Section, Table
from tangentlens.report.numbers import number
from tangentlens.report.page import render
from tangentlens.report.sections import own_baselines, own_nulls, own_stability
from tangentlens.store import StoredRun, open_run
from tangentlens.store.tables import read_table
from tests.support.mode_runs import HOSTILE, N, mode_run

SECTIONS = (own_baselines.SECTION, own_nulls.SECTION, own_stability.SECTION)
NAMES = [*HOSTILE, "on & off"]


def labels(seed: int) -> torch.Tensor:
    return torch.rand(N, generator=torch.Generator().manual_seed(seed)) < 0.5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    features = {name: labels(seed) for seed, name in enumerate(NAMES)}
    features["plane"] = torch.randn(N, 2, generator=torch.Generator().manual_seed(9))
    return open_run(mode_run(tmp_path_factory.mktemp("own") / "run", "table", features))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    return open_run(mode_run(tmp_path_factory.mktemp("bare") / "run", "table"))


def blocks_of(section: Section, run: StoredRun) -> tuple[Block, ...]:
    assert section.when is not None
    assert section.when(run)
    return section.build(run)


def tables(section: Section, run: StoredRun) -> list[Table]:
    return [block for block in blocks_of(section, run) if isinstance(block, Table)]


def lead(section: Section, run: StoredRun) -> str:
    return next(block.text for block in blocks_of(section, run) if isinstance(block, Lead))


def test_baselines_stand_at_their_best_site_best_method_first(run):
    stored = read_table(run.seeds[0], "baselines.means").rows()
    shown = tables(own_baselines.SECTION, run)
    metrics = {"auroc": 2, "overlap": 1}
    assert len(shown) == len(metrics)
    for table, (metric, decimals) in zip(shown, metrics.items(), strict=True):
        rows = [row for row in stored if row["metric"] == metric and math.isfinite(row["score"])]
        best = {
            name: max(row["score"] for row in rows if row["method"] == name) for name in {r["method"] for r in rows}
        }
        assert {cells[0] for cells in table.rows} == best.keys()
        scores = [best[cells[0]] for cells in table.rows]
        assert scores == sorted(scores, reverse=True)
        for cells in table.rows:
            row = next(r for r in rows if r["method"] == cells[0] and r["score"] == best[cells[0]])
            assert cells[3] == f"{row['score']:.{decimals}f} ({row['low']:.{decimals}f} to {row['high']:.{decimals}f})"
            assert (cells[2] == "") == (row["sees"] == "nothing")
            assert (cells[4] == "") == (row["verdict"] == "reference")


def test_nulls_have_a_column_each_and_the_sentence_counts_those_above_every_draw(run):
    stored = read_table(run.seeds[0], "nulls").rows()
    (table,) = tables(own_nulls.SECTION, run)
    nulls = list(dict.fromkeys(row["null"] for row in stored))
    assert table.columns == ("Feature", "This network", *(name.capitalize() for name in nulls[1:]))
    assert [cells[0] for cells in table.rows] == [*NAMES, "plane"]
    of = {(row["feature"], row["null"]): row for row in stored}
    for cells in table.rows:
        for cell, null in zip(cells[1:], nulls, strict=True):
            row = of[cells[0], null]
            assert cell == f"{row['score']:.{1 if row['metric'] == 'overlap' else 2}f}, {row['share']:.1f} %"
    above = sum(
        all(of[name, "none"]["score"] > of[name, null]["score_high"] for null in nulls[1:])
        for name in [*NAMES, "plane"]
    )
    assert lead(own_nulls.SECTION, run).startswith(f"{above} of {len(NAMES) + 1} features score higher")


def test_stability_shows_the_modes_of_the_whole_kernel(run):
    stored = [row for row in read_table(run.seeds[0], "stability").rows() if row["group"] == "total"]
    (table,) = tables(own_stability.SECTION, run)
    assert len(table.rows) == len(stored) == 5
    for cells, row in zip(table.rows, stored, strict=True):
        first, last = row["space_first"], row["space_last"]
        shared, random = (number(row[name], "percent") for name in ("space_overlap", "random_overlap"))
        assert cells == (
            str(row["mode"]), f"{row['cosine']:.2f}", f"{row['reproducibility']:.2f}",
            str(first) if first == last else f"{first} to {last}", f"{shared} ({random})", f"{row['residual']:.0e}",
        )  # fmt: skip
    single, spanned = (sum(row[name] >= 0.9 for row in stored) for name in ("cosine", "reproducibility"))
    text = lead(own_stability.SECTION, run)
    assert text.startswith(f"Of the 5 leading modes of the whole kernel, {single} have a single counterpart")
    assert f"and {spanned} lie in their span" in text


def test_sections_of_steps_that_were_left_out_are_absent(run, bare):
    assert [section.when(run) for section in SECTIONS] == [True, True, True]
    assert [section.when(bare) for section in SECTIONS] == [False, False, True]
    page = render(bare)
    assert "Under null models" not in page
    assert "Against other methods" not in page
    assert "Would other inputs give the same modes?" in page


def test_hostile_names_of_features_are_text(run):
    page = render(run)
    start = page.index("Score and, after the comma, share of the kernel")
    table = page[start : page.index("</table>", start)]
    assert not re.search(r"<(script|img|b)\b", table)
    assert "\u202e" not in page
    assert table.count("&lt;/script&gt;&lt;script&gt;window.pwned = 1") == 1
    assert "&amp;lt;b&amp;gt;" in table
    assert "on &amp; off" in table
    assert "<img src=x onerror" not in page
    assert "</script><script>window.pwned" not in page
