"""Runs that lack something, or come from an older version, still give a page that says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tangentlens.errors import NotStoredError, StoreError
from tangentlens.paper.mlp.claims import CLAIMS
from tangentlens.records import Figure, Measurement
from tangentlens.report.blocks import Block, Lead, Note, Section, Table
from tangentlens.report.comparison import compare
from tangentlens.report.page import build_report, render
from tangentlens.report.sections import SECTIONS, claims, headline, interventions, leaderboard, overview, recovery
from tangentlens.report.table_files import tables_of
from tangentlens.store import StoredRun, open_run
from tests.support.synthetic_language_run import language_measurement, store_language_run
from tests.support.synthetic_run import store_run, synthetic_measurement

FIELDS = {"interval": "intervals", "n": "numbers of observations", "seeds": "seeds", "unit": "units"}
PARTS = ("value", "null", "effect", "p", "corrected_p", "verdict")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store_run(tmp_path / "run", [synthetic_measurement(seed) for seed in range(2)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    folder = tmp_path_factory.mktemp("older") / "run"
    return open_run(store_run(folder, [synthetic_measurement(seed) for seed in range(2)]))


def rewrite(folder: Path, change) -> Path:
    """Pass every entry of results.json through a function of its key and itself; None leaves it out."""
    path = folder / "results.json"
    entries = {key: change(key, each) for key, each in json.loads(path.read_text("utf-8")).items()}
    path.write_text(json.dumps({key: each for key, each in entries.items() if each is not None}), "utf-8")
    return folder


def texts(blocks: tuple[Block, ...]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Lead | Note))


@pytest.mark.parametrize("fields", [("interval",), ("n",), ("unit",), tuple(FIELDS)])
def test_figures_without_fields_that_came_later_give_a_page_that_says_so(folder, fields):
    rewrite(folder, lambda _, each: {name: each[name] for name in each if name not in fields})
    page = build_report(folder).read_text("utf-8")
    older = open_run(folder)
    said = texts(overview.SECTION.blocks(older))
    assert "An older version of tangentlens wrote results.json" in said
    assert all(f"{FIELDS[field]} ({len(older.figures)} figures)" in said for field in fields)
    _, _, note = said.partition("without ")
    assert all(f"{word} (" not in note for field, word in FIELDS.items() if field not in fields)
    assert all(f'<section id="{section.name}"' in page for section in SECTIONS if section.belongs_to(older))
    assert "n = None" not in page


def test_what_it_does_not_say_is_not_made_up(folder):
    older = open_run(rewrite(folder, lambda _, each: {"value": each["value"]}))
    (table,) = [block for block in headline.SECTION.blocks(older) if isinstance(block, Table)]
    numbers = {row[3] for row in table.rows if row[1] != "not measured"}
    assert numbers == {"unknown"}
    results = tables_of(older)["results"]
    assert {row[4] for row in results.rows} == {""}
    assert compare(older, older).figures


def test_a_run_of_this_version_says_nothing_of_it(run):
    assert "older version" not in texts(overview.SECTION.blocks(run))


def test_a_damaged_file_is_still_an_error(folder):
    rewrite(folder, lambda _, each: {name: each[name] for name in each if name != "value"})
    with pytest.raises(StoreError, match=r"results\.json"):
        build_report(folder)


def evaluated(run: StoredRun, *absent: str) -> StoredRun:
    """The run with every claim evaluated; `absent` names keys of figures that it lacks."""
    figures = {
        f"claim.{claim.name}.{part}": Figure(1.0, (0.5, 1.5), 2, (0, 1), "verdict" if part == "verdict" else "percent")
        for claim in CLAIMS
        for part in PARTS
    }
    kept = {key: figure for key, figure in figures.items() if key not in absent}
    return replace(run, figures={**run.figures, **kept})


@pytest.mark.parametrize("part", PARTS[:-1])
def test_a_claim_without_one_of_its_numbers_is_shown_without(run, part):
    blocks = claims.SECTION.blocks(evaluated(run, f"claim.{CLAIMS[0].name}.{part}"))
    assert "Of some claims the run does not hold" in texts(blocks)
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert len(table.rows) == len(CLAIMS)


def test_claims_that_are_newer_than_the_run_are_counted(run):
    newest = evaluated(run, *(f"claim.{CLAIMS[-1].name}.{part}" for part in PARTS))
    assert "One claim of this version the run does not evaluate." in texts(claims.SECTION.blocks(newest))
    assert "does not evaluate" not in texts(claims.SECTION.blocks(evaluated(run)))


def test_other_methods_that_the_run_lacks_are_said(run):
    def with_methods(*methods: str) -> StoredRun:
        keys = [f"leaderboard.{method}.{end}" for method in methods for end in ("sum.percent", "dimension", "seconds")]
        return replace(run, figures={**run.figures, **dict.fromkeys(keys, Figure(5.0))})

    assert "Not shown" in texts(leaderboard.SECTION.blocks(with_methods("entk")))
    assert "Not shown" in texts(leaderboard.SECTION.blocks(with_methods("random", "pca.hidden")))
    both = with_methods("entk", "random")
    assert "Not shown" not in texts(leaderboard.SECTION.blocks(both))
    partly = {key: each for key, each in both.figures.items() if key != "leaderboard.random.seconds"}
    said = texts(leaderboard.SECTION.blocks(replace(both, figures=partly)))
    assert said == "Not shown: the run does not hold the figure leaderboard.random.seconds."


def test_a_block_that_has_another_name_now_keeps_its_row(run):
    figures = {f"causal.mlp.functions.{name}.accuracy": Figure(9.0) for name in ("former_block", "second_cliff")}
    blocks = interventions.SECTION.blocks(replace(run, figures=figures))
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert [row[1] for row in table.rows] == ["second cliff", "former_block"]


@pytest.mark.parametrize(
    "missing", ["epoch", "overlap.sum", "spectrum.total", "cliffs", "heatmap.sum", "modes.frequency"]
)
def test_no_array_of_the_mlp_costs_more_than_its_section(run, missing):
    def without(record):
        return replace(record, sources={name: path for name, path in record.sources.items() if name != missing})

    older = replace(run, seeds=tuple(map(without, run.seeds)))
    built = {section.name: section.blocks(older) for section in SECTIONS if section.belongs_to(older)}
    assert all(built.values())
    assert any(missing in texts(blocks) for blocks in built.values())


def test_a_kernel_that_the_run_lacks_is_said(run):
    bare = replace(run, config={"setting": "superposition"})
    assert recovery.SECTION.blocks(with_array(bare, "step"))[0].text.startswith("Not shown")
    other = replace(bare, config={**bare.config, "regimes": [{"name": "narrow"}], "kernel": {"taus": [1.0]}})
    assert "of any kernel" in texts(recovery.SECTION.blocks(with_array(other, "step")))


def with_array(run: StoredRun, name: str) -> StoredRun:
    """The run as if `epoch` were stored under another name."""
    seeds = tuple(replace(record, sources={**record.sources, name: record.sources["epoch"]}) for record in run.seeds)
    return replace(run, seeds=seeds)


def test_a_section_says_what_it_asked_for_and_did_not_get(run):
    section = Section("s", "S", lambda stored: (Lead(str(stored.arrays("nothing"))),))
    assert texts(section.blocks(run)) == "Not shown: the run does not hold the array nothing of seed 0."
    with pytest.raises(NotStoredError, match=r"kernel\.taus"):
        run.option("kernel", "taus")
    assert run.option("data", "p") == 11


def test_an_environment_without_version_or_date_gives_a_page(run):
    page = render(replace(run, environment={}))
    assert "tangentlens of unknown version" in page


def test_a_run_that_measured_nothing_gives_a_page(tmp_path):
    empty = open_run(store_run(tmp_path / "run", [Measurement(0, {}, {}, {})]))
    page = render(empty)
    assert "not measured" in page
    assert render(replace(empty, seeds=()))


def test_one_mode_and_none_converged_are_said(tmp_path):
    one = synthetic_measurement(0)
    curves = {name: one.arrays[name][:, :1] for name in ("spectrum.total", "modes.rotated")}
    curves |= {name: one.arrays[name][:1] for name in one.arrays if name.startswith(("heatmap.", "singular_values."))}
    curves |= {"modes.frequency": one.arrays["modes.frequency"][:1], "cliffs": torch.zeros(0, dtype=torch.int64)}
    curves |= {name: one.arrays[name][:, :1] for name in one.arrays if name.startswith("film.")}
    note = "1 of 1 eigenpairs did not converge"
    run = open_run(store_run(tmp_path / "run", [replace(one, arrays={**one.arrays, **curves}, notes=(note,))]))
    page = render(run)
    assert note in page
    assert "no cliff" in page
    assert "no mode after these" in page
    assert "no modes of two cliffs" in page


@pytest.mark.parametrize("field", list(FIELDS))
def test_a_language_model_s_older_run_gives_a_page(tmp_path, field):
    folder = store_language_run(tmp_path / "run", language_measurement())
    rewrite(folder, lambda _, each: {name: each[name] for name in each if name != field})
    assert FIELDS[field] in texts(overview.SECTION.blocks(open_run(folder)))
    assert '<section id="feature-cards"' in render(open_run(folder))


def test_one_kernel_of_several_that_the_run_lacks_is_named(tmp_path):
    config = (
        'setting = "superposition"\nregimes = [{ name = "narrow" }]\n[kernel]\ntaus = [1.0, 0.33]\n[data]\nfeatures = 4'
    )
    curve = torch.linspace(1.0, 0.1, 4).double()
    names = ("recovery.narrow.tau100", "recovery.untrained.narrow.tau100", "represented.narrow")
    arrays = {**dict.fromkeys(names, curve), "spectrum.narrow.tau100": curve, "heatmap.narrow.tau100": curve.diag()}
    measurement = Measurement(0, {}, {}, {**arrays, "step": torch.arange(2)})
    blocks = recovery.SECTION.blocks(open_run(store_run(tmp_path / "run", [measurement], config)))
    assert "does not hold their heat maps: narrow, τ = 0.33." in texts(blocks)
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert [row[0] for row in table.rows] == ["narrow, τ = 1"]
