import base64
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tangentlens.report.blocks import Film, Lead, Note
from tangentlens.report.film import kept_frames
from tangentlens.report.page import render
from tangentlens.report.sections import film
from tangentlens.store import StoredRun, open_run
from tests.support.synthetic_run import HALF, store_run, synthetic_measurement

MAPS = ("film.input", "film.sum", "film.difference")


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> StoredRun:
    """A run from before the maps of modes and frequencies were stored."""
    return open_run(store_run(tmp_path_factory.mktemp("old") / "run", [synthetic_measurement(0, omit=MAPS)]))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> StoredRun:
    return open_run(store_run(tmp_path_factory.mktemp("film") / "run", [synthetic_measurement(0)]))


def shown(run: StoredRun) -> tuple[Lead, Film]:
    lead, moving, _ = film.SECTION.blocks(run)
    assert isinstance(lead, Lead)
    assert isinstance(moving, Film)
    return lead, moving


def note(run: StoredRun) -> str:
    *_, last = film.SECTION.blocks(run)
    assert isinstance(last, Note)
    return last.text


def unpacked(picture: dict[str, str]) -> np.ndarray:
    """An array of plotly's JSON."""
    shape = tuple(int(size) for size in picture["shape"].split(","))
    return np.frombuffer(base64.b64decode(picture["bdata"]), picture["dtype"]).reshape(shape)


def test_every_checkpoint_is_a_frame_of_the_spectrum_and_a_map_for_each_family(run):
    _, moving = shown(run)
    frames, record = json.loads(moving.frames), run.seeds[0]
    assert moving.names == tuple(str(epoch) for epoch in range(0, 501, 10))
    assert len(frames) == 51
    modes = 8 * HALF + 1
    for place in (0, 20, 50):
        spectrum, *maps = frames[place]
        np.testing.assert_allclose(spectrum["y"][:modes], record.array("spectrum.total")[place, :modes], rtol=1e-3)
        assert modes < len(spectrum["y"]) < record.array("spectrum.total").shape[1]
        for name, picture in zip(MAPS, maps, strict=True):
            np.testing.assert_array_equal(unpacked(picture["z"]), record.array(name)[place].T)


def test_the_maps_share_the_horizontal_axis_of_the_spectrum(run):
    layout = json.loads(shown(run)[1].chart.json)["layout"]
    assert [layout[f"xaxis{row}"]["matches"] for row in (2, 3, 4)] == ["x"] * 3
    titles = " ".join(each["text"] for each in layout["annotations"])
    assert titles.index("n and m together") < titles.index("n\u00a0+\u00a0m") < titles.index("n\u00a0−\u00a0m")


def test_a_run_without_the_maps_shows_bars(old):
    _, moving = shown(old)
    frames, record = json.loads(moving.frames), old.seeds[0]
    spectrum, bars = frames[20]
    np.testing.assert_allclose(spectrum["y"], record.array("spectrum.total")[20], rtol=1e-3)
    expected = [record.array(f"overlap.{family}")[20] for family in ("sum", "difference", "input")]
    np.testing.assert_allclose(bars["y"], expected, rtol=1e-3)
    assert "percent of each feature family" in note(old)


def test_the_figure_starts_at_the_last_frame_and_its_axes_hold_all(run, old):
    for each in (run, old):
        _, moving = shown(each)
        figure, frames = json.loads(moving.chart.json), json.loads(moving.frames)
        fields = ["z" if trace["type"] == "heatmap" else "y" for trace in figure["data"]]
        assert [{field: trace[field]} for field, trace in zip(fields, figure["data"], strict=True)] == frames[-1]
        low, high = figure["layout"]["yaxis"]["range"]
        values = np.array([spectrum["y"] for spectrum, *_ in frames])
        assert 10**low < values.min()
        assert values.max() < 10**high


def test_the_sentence_gives_first_and_last(run):
    lead, _ = shown(run)
    assert "51 checkpoints of seed 0" in lead.text
    assert "n + m from 4." in lead.text.replace("\u00a0", " ")


def test_a_long_film_is_thinned_and_says_so(run, tmp_path):
    assert kept_frames(51).tolist() == list(range(51))
    places = kept_frames(1001)
    assert (len(places), places[0], places[-1]) == (100, 0, 1000)
    assert set(np.diff(places)) == {10, 11}
    assert "evenly spaced" not in note(run)

    arrays = {"epoch": 20 * torch.arange(301), "tracks.values": torch.rand(301, 4) + 1}
    arrays["film.sum"] = torch.randint(0, 100, (301, 5, 3), dtype=torch.uint8)
    long = open_run(store_run(tmp_path / "run", [replace(synthetic_measurement(0), arrays=arrays)]))
    _, moving = shown(long)
    assert len(moving.names) == len(json.loads(moving.frames)) == 100
    assert moving.names[-1] == "6000"
    assert "Of 301 checkpoints the film shows 100, evenly spaced" in note(long)


def test_eigenvalues_that_are_not_positive_are_left_out(tmp_path):
    measurement = synthetic_measurement(0, omit=MAPS)
    measurement.arrays["spectrum.total"][3, -1] = -1e-9
    _, moving = shown(open_run(store_run(tmp_path / "run", [measurement])))
    assert json.loads(moving.frames)[3][0]["y"][-1] is None


def test_modes_that_were_followed_make_a_film_in_the_order_of_their_eigenvalues_above_the_maps(tmp_path):
    arrays = {"epoch": torch.tensor([0, 20, 40]), "tracks.values": torch.rand(3, 4) + 1}
    alone = open_run(store_run(tmp_path / "alone", [replace(synthetic_measurement(0), arrays=arrays)]))
    assert [len(frame) for frame in json.loads(shown(alone)[1].frames)] == [1, 1, 1]

    maps = {"film.sum": torch.zeros(3, 4, 5, dtype=torch.uint8)}
    both = open_run(store_run(tmp_path / "both", [replace(synthetic_measurement(0), arrays={**arrays, **maps})]))
    for spectrum, picture in json.loads(shown(both)[1].frames):
        assert spectrum["y"] == sorted(spectrum["y"], reverse=True)
        assert unpacked(picture["z"]).shape == (5, 4)


def test_a_run_without_checkpoints_has_no_film(run):
    assert not film.SECTION.belongs_to(replace(run, seeds=()))
    assert '<section id="film"' in render(run)
