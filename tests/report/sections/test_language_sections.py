"""What the sections of a language model's run say."""

from dataclasses import replace

import numpy as np
import pytest

from tangentlens.records import Figure, Measurement
from tangentlens.report.blocks import Block, Cards, Chart, Charts, Lead, Note, Table
from tangentlens.report.page import build_report, render
from tangentlens.report.sections import feature_cards, labels, spectra
from tangentlens.store import StoredRun, open_run
from tests.support.synthetic_language_run import Size, language_measurement, store_language_run, with_arrays, with_words

SECTIONS = (labels.SECTION, spectra.SECTION, feature_cards.SECTION)


def stored(folder, measurement: Measurement | None = None) -> StoredRun:
    return open_run(store_language_run(folder, measurement))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> StoredRun:
    return stored(tmp_path_factory.mktemp("sections") / "run", language_measurement(geometries=("raw", "fisher")))


def texts(blocks: tuple[Block, ...]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Lead | Note))


def tables(blocks: tuple[Block, ...]) -> list[Table]:
    return [block for block in blocks if isinstance(block, Table)]


POS = "Macro mean, parts of speech (paper: eNTK 0.827, PCA 0.745)"  # experiments/gemma/expected.toml


def test_the_table_gives_every_label_and_both_macro_means(run):
    auroc, precision = tables(labels.SECTION.blocks(run))
    assert auroc.columns[:4] == ("Label", "eNTK, raw logits", "eNTK, Fisher", "PCA")
    rows = {row[0]: row for row in auroc.rows}
    assert len(rows) == 2 + 14
    assert rows[POS][1] == "0.830"  # the figure of results.json
    assert rows[POS][3] == "0.740"
    assert "–" in rows["NOUN"][1]
    assert rows["NOUN"][1].rpartition(" · ")[2] in ("0", "1", "2")
    assert "–" not in {row[0]: row for row in precision.rows}["NOUN"][1]


def test_a_figure_with_an_interval_is_given_with_it(run):
    figure = Figure(0.8265, (0.79, 0.86), 1, (0,), "ratio")
    changed = replace(run, figures={**run.figures, "auroc.pos.macro.entk": figure})
    auroc, _ = tables(labels.SECTION.blocks(changed))
    assert auroc.rows[0][1] == "0.827 (0.790–0.860)"


def test_corrected_p_values_stand_beside_the_labels(run):
    figures = {"p_family.pos.label.NOUN.entk": Figure(0.0002), "p_family.morph.label.Tense=Past.entk": Figure(0.031)}
    auroc, precision = tables(labels.SECTION.blocks(replace(run, figures={**run.figures, **figures})))
    column = auroc.columns.index("Corrected p")
    shown = {row[0]: row[column] for row in auroc.rows}
    assert (shown["NOUN"], shown["Tense=Past"], shown["VERB"]) == ("< 0.001", "0.031", "")
    assert column not in precision.shown


def test_the_maps_stand_side_by_side_and_mark_the_layer(run):
    (charts,) = [block for block in labels.SECTION.blocks(run) if isinstance(block, Charts)]
    assert len(charts.items) == 2
    assert all("circle-open" in each.json for each in charts.items)


def test_the_sentence_counts_who_finds_labels_better(tmp_path):
    measurement = language_measurement()
    shape = measurement.arrays["raw.auroc"].shape
    better = with_arrays(measurement, {"raw.auroc": np.full(shape, 0.9, np.float32), "pca.auroc": np.full(shape, 0.6)})
    assert "Of 14 labels the eNTK's modes find 14 better and 0 worse" in texts(
        labels.SECTION.blocks(stored(tmp_path / "a", better))
    )
    worse = with_arrays(measurement, {"raw.auroc": np.full(shape, 0.5, np.float32), "pca.auroc": np.full(shape, 0.6)})
    assert "find 0 better and 14 worse" in texts(labels.SECTION.blocks(stored(tmp_path / "b", worse)))


def test_residuals_are_summed_up_and_mapped(run):
    blocks = spectra.SECTION.blocks(run)
    residuals = run.seeds[0].array("raw.residuals")
    assert f"at worst {residuals.max():.3f}" in texts(blocks)
    layers, others = tables(blocks)
    assert [row[0] for row in layers.rows] == ["0", "1", "2"]
    assert " ± " in layers.rows[0][4]
    assert others.rows[0][0] == "Fisher"


def test_nothing_converged_is_said(tmp_path):
    measurement = language_measurement()
    unsure = with_arrays(measurement, {"raw.converged": np.zeros((3, 4), np.uint8)})
    run = stored(tmp_path / "run", unsure)
    assert "None of the 12 modes converged" in texts(spectra.SECTION.blocks(run))
    assert "None of them converged" in texts(feature_cards.SECTION.blocks(run))
    assert render(run)


def test_numbers_that_are_none_still_give_a_page(tmp_path):
    measurement = language_measurement()
    floats = {
        name: np.full(tuple(each.shape), np.nan)
        for name, each in measurement.arrays.items()
        if each.is_floating_point()
    }
    run = stored(tmp_path / "run", with_arrays(measurement, floats))
    for section in SECTIONS:
        assert section.blocks(run)
    assert render(run)


def test_one_mode_of_one_layer_gives_a_page(tmp_path):
    run = stored(tmp_path / "run", language_measurement(Size(layers=1, modes=1)))
    assert "One mode, 1 in each of one kernel" in texts(feature_cards.SECTION.blocks(run))
    assert render(run)


def test_a_run_without_labels_says_so_and_has_the_rest(tmp_path):
    omit = ("labels.names", "labels.family", "labels.matrix", "labels.train", "raw.auroc", "raw.sign", "windows.pos")
    run = stored(tmp_path / "run", language_measurement(omit=omit))
    assert "the run has no labels" in texts(labels.SECTION.blocks(run))
    assert "its labels" in texts(feature_cards.SECTION.blocks(run))
    assert any(isinstance(block, Cards) for block in feature_cards.SECTION.blocks(run))
    assert render(run)


ALL = language_measurement()


def test_the_baseline_has_layers_of_its_own(tmp_path):
    """Kernels of two groups of the same model, principal components of all three of its blocks."""
    measurement = language_measurement()
    halved = {name: each[:2].numpy() for name, each in measurement.arrays.items() if name.startswith("raw.")}
    halved["pca.layer"] = np.full(14, 2)
    words = {
        "blocks": ("model.layers.0", "model.layers.1", "model.layers.2"),
        "groups": measurement.words["groups"][:2],
    }
    auroc, _ = tables(
        labels.SECTION.blocks(stored(tmp_path / "run", with_words(with_arrays(measurement, halved), words)))
    )
    assert all(row[2].endswith(" · 2") for row in auroc.rows[2:])  # the layer that the run itself chose
    assert all(row[1].endswith((" · 0", " · 1")) for row in auroc.rows[2:])


@pytest.mark.parametrize("absent", sorted({*ALL.arrays, *ALL.words} - {"raw.values"}))
def test_no_missing_part_costs_the_cards(tmp_path, absent):
    run = stored(tmp_path / "run", language_measurement(Size(2, 2, 32, 4, 2, 3), omit=(absent,)))
    assert any(isinstance(block, Cards) for block in feature_cards.SECTION.blocks(run))


SUMMED_UP = (
    "raw.scores", "raw.auroc", "raw.auroc.low", "raw.average_precision", "raw.residuals", "raw.residuals.error",
    "raw.converged", "pca.scores", "pca.auroc", "labels.matrix", "labels.names", "labels.family", "groups",
    "geometries",
)  # fmt: skip


@pytest.mark.parametrize("absent", SUMMED_UP)
def test_no_missing_part_costs_the_other_sections(tmp_path, absent):
    run = stored(tmp_path / "run", language_measurement(Size(2, 2, 32, 4, 2, 3), omit=(absent,)))
    assert labels.SECTION.blocks(run)
    assert spectra.SECTION.blocks(run)


def test_a_run_of_nothing_says_so_in_every_section(tmp_path):
    run = stored(tmp_path / "run", Measurement(0, {}, {}, {}))
    assert all("Not shown" in texts(section.blocks(run)) for section in SECTIONS)
    assert render(run)
    assert render(replace(run, seeds=()))


def test_figures_of_an_older_version_are_not_needed(run):
    page = render(replace(run, figures={}))
    assert '<section id="feature-cards"' in page


def test_without_texts_the_page_holds_none_and_says_so(tmp_path):
    folder = store_language_run(tmp_path / "run")
    whole = build_report(folder).read_text("utf-8")
    bare = build_report(folder, text=False).read_text("utf-8")
    # not in the assert itself: pytest would print both pages
    said = ["--no-text" in whole, "--no-text" in bare, '"words":null' in bare, '"tokens":null' in bare]
    assert said == [False, True, True, True]


def test_other_settings_have_none_of_these_sections(run):
    other = replace(run, config={"setting": "mlp"}, seeds=())
    assert not any(section.belongs_to(other) for section in SECTIONS)


def test_charts_use_colours_of_the_theme(run):
    blocks = [block for section in SECTIONS for block in section.blocks(run)]
    charts = [each for block in blocks if isinstance(block, Charts) for each in block.items]
    assert len(charts) == 4
    assert all(isinstance(each, Chart) and each.alt for each in charts)
