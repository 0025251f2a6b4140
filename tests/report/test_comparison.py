"""Two runs side by side: what differs is said, what agrees is not, on the terminal and on the page."""

import html
import json
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.records import Figure
from tangentlens.report.comparison import Compared, Comparison, compare, run_names, summary
from tangentlens.report.comparison_page import render_comparison, write_comparison
from tangentlens.store import StoredRun, open_run
from tangentlens.store.about import About
from tests.support.synthetic_run import CONFIG, store_run, synthetic_measurement


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredRun, StoredRun]:
    place = tmp_path_factory.mktemp("comparison")
    wide = CONFIG.replace("width = 512", "width = 1024").replace("seeds = [0, 1, 2]", "seeds = [3, 4, 5]")
    return (
        open_run(store_run(place / "narrow", [synthetic_measurement(seed) for seed in range(3)])),
        open_run(store_run(place / "wide", [synthetic_measurement(seed, onset=140.0) for seed in range(3, 6)], wide)),
    )


def both(first: Figure | None, second: Figure | None) -> Compared:
    return Compared("a.figure", first, second)


def test_configs_differ_where_they_differ_seeds_included(runs):
    found = {each.name: (each.first, each.second) for each in compare(*runs).config}
    assert found == {"model.width": ("512", "1024"), "seeds": ("[0, 1, 2]", "[3, 4, 5]")}


def test_a_key_of_one_config_alone_is_not_there_in_the_other(runs):
    shorter = replace(runs[1], config={"setting": "mlp"})
    found = {each.name: (each.first, each.second) for each in compare(runs[0], shorter).config}
    assert found["data.p"] == ("11", "not there")


def test_a_run_compared_with_itself_is_equal_throughout(runs):
    found = compare(runs[0], runs[0])
    assert found.config == found.environment == ()
    assert {each.verdict for each in found.figures} == {"equal"}
    assert f"{len(runs[0].figures)} are equal, and in 0" in summary(found)


def test_what_moved_lies_apart_and_what_did_not_overlaps(runs):
    found = {each.key: each for each in compare(*runs).figures}
    assert found["grokking.onset_epoch"].verdict == "apart"
    assert found["grokking.onset_epoch"].change.startswith("+")
    assert found["overlap.sum.percent"].verdict == "overlap"
    assert found["test.accuracy.final"].verdict == "equal"


DRAWN = st.tuples(st.floats(-1e3, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))


@given(DRAWN, DRAWN)
def test_intervals_meet_or_lie_apart_whichever_run_is_first(a, b):
    first, second = (Figure(value, (value - below, value + above), 5) for value, below, above in (a, b))
    one, other = both(first, second), both(second, first)
    assert one.verdict == other.verdict
    if one.verdict == "apart":
        assert first.interval[1] < second.interval[0] or second.interval[1] < first.interval[0]
    if one.verdict == "overlap":
        assert max(first.interval[0], second.interval[0]) <= min(first.interval[1], second.interval[1])
    assert one.change.removeprefix("+").removeprefix("−") == other.change.removeprefix("+").removeprefix("−")


def test_nothing_is_said_of_what_cannot_be_compared():
    one = Figure(1.0, (0.5, 1.5), 3, unit="percent")
    assert (both(one, None).verdict, both(one, None).change) == ("one run", "")
    assert (both(one, replace(one, unit="ratio")).verdict, both(one, replace(one, unit="ratio")).change) == (
        "other unit",
        "",
    )
    alone = replace(one, value=2.0, interval=None)
    assert (both(one, alone).verdict, both(one, alone).change) == ("", "+1.0 points")
    assert both(one, replace(one, value=0.99, interval=None)).change == "0.0 points"
    missing = replace(one, value=None, interval=None)
    assert both(one, missing).change == ""


def test_two_folders_of_one_name_are_told_apart(runs, tmp_path):
    def named(*places: str) -> tuple[str, str]:
        first, second = (replace(run, folder=tmp_path / place) for run, place in zip(runs, places, strict=True))
        return run_names(compare(first, second))

    assert named("a", "b") == ("a", "b")
    assert named("x/run", "y/run") == ("x/run", "y/run")
    assert named("same", "same") == ("same", "same")


def test_the_headline_is_what_the_experiment_expects_something_of(runs):
    found = compare(*runs)
    assert {"overlap.sum.percent", "grokking.onset_epoch"} <= {each.key for each in found.headline}
    assert len(found.headline) < len(found.figures)
    other = compare(*(replace(run, config={"setting": "other"}, about=About("other")) for run in runs))
    assert other.headline == other.figures


@pytest.fixture(scope="module")
def page(runs: tuple[StoredRun, StoredRun]) -> str:
    return render_comparison(compare(*runs))


def test_the_page_shows_every_figure_and_difference_and_asks_for_nothing(runs, page):
    for key in runs[0].figures:
        assert f'<th scope="row">{html.escape(key)}</th>' in page
    assert "The configs differ in 2 keys." in page
    assert '<th scope="row">model.width</th>' in page
    assert "first <b>narrow</b> · second <b>wide</b>" in page
    assert not re.search(r'<[a-z]+ (?:[^>]* )?src="', page)
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']


def test_the_chart_of_the_page_holds_the_percentages_of_both(runs, page):
    (spec,) = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    first, second = go.Figure(json.loads(spec)).data
    places = {runs[0].figures[key].value for key in runs[0].figures}
    assert set(first.x) <= places
    assert len(first.x) == len(second.x) > 3


def test_equal_runs_of_another_setting_have_a_page_without_a_chart(runs):
    ratios = {key: figure for key, figure in runs[0].figures.items() if figure.unit == "ratio"}
    bare = replace(runs[0], config={"setting": "other"}, figures=ratios)
    text = render_comparison(compare(bare, bare))
    assert "The configs are the same." in text
    assert len(text) < 200_000  # no plotly.js


def test_hostile_names_are_text(runs):
    evil = "</script><img src=x onerror=alert(1)>"
    figures = {**runs[0].figures, evil: Figure(1.0, unit="percent")}
    hostile = replace(runs[0], figures=figures, config={"setting": evil, evil: evil})
    text = render_comparison(Comparison(hostile, hostile, *((c := compare(hostile, runs[1])).config, (), c.figures)))
    assert evil not in text
    assert "<img src=x" not in text


def test_what_cannot_be_written_is_refused_and_nothing_is_left(runs, tmp_path):
    found = compare(*runs)
    with pytest.raises(InvalidInputError, match="written as HTML"):
        write_comparison(found, tmp_path / "page.pdf")
    with pytest.raises(StoreError):
        write_comparison(found, tmp_path / "nowhere" / "page.html")
    write_comparison(found, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
