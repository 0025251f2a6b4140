import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from synthetic_run import store_run, synthetic_measurement
from tangentlens.report.blocks import Film, Lead
from tangentlens.report.page import render
from tangentlens.report.sections import film
from tangentlens.store import StoredRun, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> StoredRun:
    return open_run(store_run(tmp_path_factory.mktemp("film") / "run", [synthetic_measurement(0)]))


def shown(run: StoredRun) -> tuple[Lead, Film]:
    lead, moving, _ = film.SECTION.blocks(run)
    assert isinstance(lead, Lead)
    assert isinstance(moving, Film)
    return lead, moving


def test_every_checkpoint_is_a_frame_of_spectrum_and_overlaps(run):
    _, moving = shown(run)
    frames, record = json.loads(moving.frames), run.seeds[0]
    assert moving.names == tuple(str(epoch) for epoch in range(0, 501, 10))
    assert len(frames) == 51
    for place in (0, 20, 50):
        spectrum, bars = frames[place]
        np.testing.assert_allclose(spectrum, record.array("spectrum.total")[place], rtol=1e-3)
        expected = [record.array(f"overlap.{family}")[place] for family in ("sum", "difference", "input")]
        np.testing.assert_allclose(bars, expected, rtol=1e-3)


def test_the_figure_starts_at_the_last_frame_and_its_axes_hold_all(run):
    _, moving = shown(run)
    figure, frames = json.loads(moving.chart.json), json.loads(moving.frames)
    assert len(figure["data"]) == len(frames[-1])
    low, high = figure["layout"]["yaxis"]["range"]
    values = np.array([spectrum for spectrum, _ in frames])
    assert 10**low < values.min()
    assert values.max() < 10**high


def test_the_sentence_gives_first_and_last(run):
    lead, _ = shown(run)
    assert "51 checkpoints of seed 0" in lead.text
    assert "n + m from 4." in lead.text.replace("\u00a0", " ")


def test_eigenvalues_that_are_not_positive_are_left_out(tmp_path):
    measurement = synthetic_measurement(0)
    measurement.arrays["spectrum.total"][3, -1] = -1e-9
    _, moving = shown(open_run(store_run(tmp_path / "run", [measurement])))
    assert json.loads(moving.frames)[3][0][-1] is None


def test_modes_that_were_followed_make_a_film_too(tmp_path):
    epoch = torch.tensor([0, 20, 40])
    arrays = {"epoch": epoch, "tracks.values": torch.rand(3, 4) + 1}
    run = open_run(store_run(tmp_path / "run", [replace(synthetic_measurement(0), arrays=arrays)]))
    _, moving = shown(run)
    assert [len(frame) for frame in json.loads(moving.frames)] == [1, 1, 1]


def test_a_run_without_checkpoints_has_no_film(run):
    assert not film.SECTION.belongs_to(replace(run, seeds=()))
    assert '<section id="film"' in render(run)
