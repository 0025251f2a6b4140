"""The figures of a report outside the page: in a notebook, and as files."""

import asyncio
import json
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tangentlens as tl
from tangentlens.errors import InvalidInputError, MissingExtraError, StoreError
from tangentlens.models.extras import installed
from tangentlens.report.charts import chart
from tangentlens.report.figure_files import write_figures
from tangentlens.report.notebook import Run
from tangentlens.report.static_charts import THEMES, charts_of, palette, themed
from tests.support.chromium import BROWSER
from tests.support.synthetic_run import store_run, synthetic_measurement


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("figures") / "run"
    return tl.open_run(store_run(folder, [synthetic_measurement(seed) for seed in range(2)]))


@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_has_real_colours_and_the_data_of_the_page(run, theme):
    charts = charts_of(run.stored)
    assert set(run.figures) == set(charts)
    assert {"spectrum", "spectrum-2", "training"} <= set(charts)
    for name, each in charts.items():
        figure = run.figure(name, theme)
        assert isinstance(figure, go.Figure)
        assert "var(--" not in figure.to_json()
        assert len(figure.data) == len(json.loads(each.json)["data"])
        assert figure.layout.height == each.height


def test_the_two_themes_have_the_same_names_and_other_colours():
    light, dark = palette("light"), palette("dark")
    assert set(light) == set(dark) >= {"paper", "ink", "soft", "grid", "line", "blue", "vermilion"}
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in (*light.values(), *dark.values()))
    assert not set(light.values()) & set(dark.values())


def test_the_values_drawn_are_those_of_the_run(run):
    (spectrum,) = (trace for trace in run.figure("spectrum").data if trace.name == "whole kernel")
    last = [array[-1] for array in run.arrays("spectrum.total")]
    assert list(spectrum.y) == pytest.approx(sum(last) / len(last))


@given(arrays(st.sampled_from([np.float32, np.float64, np.int16, np.uint8]), array_shapes(min_dims=1, max_dims=2)))
def test_arrays_come_out_as_they_went_in(values):
    drawn = chart(go.Figure(go.Heatmap(z=values) if values.ndim == 2 else go.Scatter(y=values)), "alt")
    (trace,) = themed(drawn).data
    np.testing.assert_array_equal(np.asarray(trace.z if values.ndim == 2 else trace.y), values)


def test_an_unknown_figure_or_theme_is_refused_with_those_there_are(run):
    with pytest.raises(InvalidInputError, match=r"Did you mean 'spectrum'\?.*There are: .*training"):
        run.figure("spectrm")
    with pytest.raises(InvalidInputError, match="Choose light or dark"):
        run.figure("spectrum", theme="sepia")
    with pytest.raises(InvalidInputError, match=r"There are: .*spectrum\.total"):
        run.arrays("spectrum.totals")


def test_a_run_shows_its_numbers(run):
    assert run.results["overlap.sum.percent"].n == 2
    assert run.config["setting"] == "mlp"
    assert [array.shape for array in run.arrays("epoch")] == [(51,), (51,)]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="not a run"):
        tl.open_run(tmp_path)


@pytest.mark.parametrize("formats", [["gif"], ["pdf", "eps"], []])
def test_a_format_that_cannot_be_written_is_refused(run, tmp_path, formats):
    with pytest.raises(InvalidInputError, match="pdf, svg, png"):
        write_figures(run.stored, tmp_path / "figures", formats)
    assert not list(tmp_path.iterdir())


def test_without_kaleido_the_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tangentlens.models.extras.installed", lambda *_: False)
    with pytest.raises(MissingExtraError, match=r"tangentlens\[figures\]"):
        write_figures(run.stored, tmp_path / "figures", ["pdf"])
    assert not list(tmp_path.iterdir())


class FakeBrowser:
    """What kaleido offers, without a browser: the file holds the format and the number of traces."""

    def __init__(self, *, mathjax: bool) -> None:
        assert not mathjax  # it would be fetched from the network

    async def __aenter__(self) -> "FakeBrowser":
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None

    async def calc_fig(self, figure: go.Figure, options: dict[str, object]) -> bytes:
        return f"{options['format']} {len(figure.data)}".encode()


def refuse(*, mathjax: bool) -> FakeBrowser:  # noqa: ARG001
    raise RuntimeError("no chrome")


def pretend(monkeypatch: pytest.MonkeyPatch, browser: object) -> None:
    fake = types.ModuleType("kaleido")
    fake.Kaleido = browser  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kaleido", fake)
    monkeypatch.setattr("tangentlens.models.extras.installed", lambda *_: True)


def test_every_figure_becomes_a_file_in_each_format_also_where_an_event_loop_runs(run, tmp_path, monkeypatch):
    pretend(monkeypatch, FakeBrowser)

    async def as_in_a_notebook() -> tuple[Path, ...]:
        return write_figures(run.stored, tmp_path / "new" / "figures", ["pdf", "png"])

    written = asyncio.run(as_in_a_notebook())
    assert {path.name for path in written} == {f"{name}.{kind}" for name in run.figures for kind in ("pdf", "png")}
    traces = {name: len(json.loads(each.json)["data"]) for name, each in charts_of(run.stored).items()}
    assert all(path.read_text() == f"{path.suffix[1:]} {traces[path.stem]}" for path in written)


def test_without_a_browser_the_remedy_says_which(run, tmp_path, monkeypatch):
    pretend(monkeypatch, refuse)
    with pytest.raises(MissingExtraError, match="apt install chromium"):
        write_figures(run.stored, tmp_path, ["pdf"])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(run, tmp_path, monkeypatch):
    pretend(monkeypatch, FakeBrowser)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_figures(run.stored, tmp_path / "file" / "figures", ["pdf"])


@pytest.mark.skipif(BROWSER is None or not installed("kaleido"), reason="kaleido or a Chromium for it is not installed")
def test_a_real_browser_draws_a_vector_file(run, tmp_path, monkeypatch):
    one = {"spectrum": charts_of(run.stored)["spectrum"]}
    monkeypatch.setattr("tangentlens.report.figure_files.charts_of", lambda _run: one)
    pdf, svg = write_figures(run.stored, tmp_path, ["pdf", "svg"])
    assert pdf.read_bytes().startswith(b"%PDF")
    assert "eigenvalue" in svg.read_text()
    assert palette("light")["vermilion"] in svg.read_text() or "rgb(192, 79, 0)" in svg.read_text()


def test_a_chart_with_an_unknown_colour_is_an_error_not_black(run):
    spectrum = charts_of(run.stored)["spectrum"]
    odd = replace(spectrum, json=spectrum.json.replace("var(--ink)", "var(--inc)"))
    with pytest.raises(KeyError):
        themed(odd)
