import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.report import build_report, labels
from tangentlens.report.blocks import Lead, Section, Tiles
from tangentlens.report.page import bind, render, script_json
from tangentlens.report.sections import SECTIONS, headline
from tangentlens.report.sections.modes import nearest_wave
from tangentlens.store import StoredRun, open_run
from tangentlens.store.about import About
from tests.support.synthetic_run import CONFIG, HALF, store_run, synthetic_measurement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    folder = tmp_path_factory.mktemp("page") / "run"
    return open_run(store_run(folder, [synthetic_measurement(seed) for seed in range(3)]))


@pytest.fixture(scope="module")
def page(run: StoredRun) -> str:
    return render(run)


def lead(run: StoredRun, name: str) -> str:
    section = next(section for section in SECTIONS if section.name == name and section.belongs_to(run))
    return " ".join(block.text for block in section.blocks(run) if isinstance(block, Lead))


def test_the_report_is_one_file_of_reasonable_size(run):
    path = build_report(run.folder)
    assert path == run.folder / "report.html"
    assert path.stat().st_size < 6e6


def test_nothing_is_fetched(page):
    sources = re.findall(r'<[a-z]+ (?:[^>]* )?src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_every_section_has_a_sentence_or_a_table_and_an_anchor(run, page):
    for section in (section for section in SECTIONS if section.belongs_to(run)):
        assert f'<section id="{section.name}"' in page
        assert f'href="#{section.name}"' in page
        assert section.blocks(run)


def test_every_figure_of_the_results_is_in_the_table(run, page):
    table = page[page.index('<section id="figures"') : page.index('<section id="config"')]
    for key in run.figures:
        assert f'<th scope="row">{html.escape(key)}</th>' in table


def test_charts_are_valid_figures_with_alternatives_and_theme_colours(page):
    figures = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    assert len(figures) >= 5
    for text in figures:
        go.Figure(json.loads(text))
        assert not re.search(r'"(#[0-9a-f]{3,6}|black|white)"', re.sub(r'"colorscale":\[\[.*?\]\]', "", text))
    assert page.count('role="img" aria-label="') == len(figures)


def test_the_sentences_state_what_the_run_says(run):
    assert f"after modes {4 * HALF} and {8 * HALF}, where the paper's ranges end, in 3 of 3 seeds" in lead(
        run, "spectrum"
    )
    assert "holds 91.0 to 98.0 % of the n features and 91.0 to 98.0 % of the m features" in lead(run, "overlap")
    assert "sum features run from 0.990 down to 0.950" in lead(run, "singular-values")
    assert "100 % of its power in a single wave" in lead(run, "modes")
    assert "n by hidden (87.0 %)" in lead(run, "layers")
    assert "R² 0.710" in lead(run, "linearised")
    assert "3.1e-13" in lead(run, "residuals")
    assert "before the onset" in lead(run, "training")
    assert "test accuracy does not cross" not in lead(run, "training").lower()


def with_figures(run: StoredRun, **changes: float | None) -> StoredRun:
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    changed = {key: replace(run.figures[key], value=value, interval=None) for key, value in keys.items()}
    return replace(run, figures={**run.figures, **changed})


def test_the_sentences_change_with_the_figures(run):
    later = with_figures(run, grokking__onset_minus_peak_epochs=-4.0)
    assert "4 epochs after the onset" in lead(later, "training")
    same = with_figures(run, grokking__onset_minus_peak_epochs=0.0)
    assert "at the same epoch" in lead(same, "training")
    never = with_figures(
        run, grokking__onset_epoch=None, grokking__overlap_peak_epoch=None, grokking__onset_minus_peak_epochs=None
    )
    assert "does not cross" in lead(never, "training")
    assert "before" not in lead(never, "training")
    assert "<figure" in render(never)


def test_what_falls_short_is_said_and_what_was_not_measured_too(run):
    assert re.match(r"\d+ of \d+ figures with a bound meet it", lead(run, "headline"))
    short = with_figures(run, overlap__sum__percent=50.0, overlap__difference__percent=None)
    assert "overlap with the sum features, 50.0 %, expected at least 93" in lead(short, "headline")
    assert "difference features, not measured" in lead(short, "headline")
    page = render(short)
    assert 'class="verdict falls-short"' in page


def test_tiles_are_of_what_was_measured_or_of_all_where_nothing_was(run):
    def tiles(of: StoredRun) -> list[str]:
        return [tile.label for block in headline.SECTION.blocks(of) if isinstance(block, Tiles) for tile in block.items]

    first, *rest = tiles(run)
    left_out = next(row.key for row in run.about.expected)
    without = replace(run, figures={key: each for key, each in run.figures.items() if key != left_out})
    assert first == labels.figure(left_out)
    assert tiles(without)[: len(rest)] == rest
    assert first not in tiles(without)
    empty = replace(run, figures={})
    assert tiles(empty) == [first, *rest]
    (said,) = [block.text for block in headline.SECTION.blocks(empty) if isinstance(block, Lead)]
    assert 'class="verdict not-measured"' in render(empty)
    assert re.fullmatch(r"None of the \d+ figures with a bound was measured in this run\.", said)


def test_only_long_tables_scroll(page):
    scrolls = {
        caption: classes
        for classes, caption in re.findall(r'<div class="([^"]*)" role="region" aria-label="([^"]*)"', page)
    }
    assert scrolls["All figures of the run"] == "scroll long"
    assert scrolls["Headline figures beside what was expected of them"] == "scroll"


def test_bounds_are_said_to_belong_to_another_config(page):
    assert "this run differs in" in page
    assert "data.p = 11 (there 29)" in page


def test_a_missing_array_is_said_in_the_page(tmp_path):
    one = synthetic_measurement(0, omit=("modes.rotated", "cliffs"))
    run = open_run(store_run(tmp_path / "run", [one]))
    page = render(run)
    assert "Not shown: the run does not hold cliffs." in page
    assert "Not shown: the run does not hold modes.rotated." in page
    assert "one seed" in page


def test_a_run_has_the_sections_of_what_it_holds_whatever_its_setting(run):
    page = render(replace(run, config={"setting": "other"}, about=About("other")))
    assert "No experiment states what to expect of this run" in page
    for name in ("spectrum", "training", "overlap", "modes", "layers", "linearised", "figures"):
        assert f'<section id="{name}"' in page
    for name in ("recovery", "frequencies", "feature-cards", "claims"):
        assert f'<section id="{name}"' not in page
    bare = render(replace(run, seeds=(), figures={}))
    assert '<section id="spectrum"' not in bare
    assert '<section id="figures"' in bare
    assert len(bare) < 200_000  # no chart, so no plotly.js


def test_names_from_outside_cannot_become_markup(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    config = CONFIG.replace("[data]", f'[data]\nname = "{evil}"')
    one = synthetic_measurement(0)
    figures = {**one.figures, f"overlap.group.{evil}.n.percent": 5.0}
    arrays = {**one.arrays, f"spectrum.group.{evil}": one.arrays["spectrum.group.hidden"]}
    noted = replace(one, figures=figures, arrays=arrays, notes=(evil,))
    page = render(open_run(store_run(tmp_path / "run", [noted], config)))
    assert evil not in page
    assert "<img src=x" not in page
    assert html.escape(evil) in page


def test_a_script_cannot_be_closed_from_json():
    text = script_json(json.dumps({"a": "</script><!--"}))
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--"}
    with pytest.raises(ValueError, match="Expecting"):
        script_json("{")


def test_numbers_stay_with_their_signs():
    assert bind("93 % of 4 s and 3 seeds") == "93\u00a0% of 4\u00a0s and 3 seeds"


def test_the_nearest_wave_is_found():
    n, m = np.meshgrid(np.arange(7), np.arange(7), indexing="ij")
    for family, phase in {"n": n, "m": m, "sum": n + m, "difference": n - m}.items():
        found, share = nearest_wave(np.cos(2 * np.pi * 2 * phase / 7 + 0.3), 2)
        assert found == family
        assert share == pytest.approx(1.0)
    assert nearest_wave(np.zeros((7, 7)), 1)[1] == 0.0


def test_a_section_is_not_built_without_its_arrays(run):
    def broken(_run: StoredRun) -> tuple[Lead, ...]:
        raise AssertionError

    (note,) = Section("s", "S", broken, arrays=("epoch", "nothing")).blocks(run)
    assert note.text == "Not shown: the run does not hold nothing."


def test_a_folder_that_is_no_run_is_refused_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(InvalidInputError, match="not a run"):
        build_report(tmp_path)
    assert not list(tmp_path.iterdir())
