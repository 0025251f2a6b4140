import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from tangentlens import pipeline
from tangentlens.config import config_text, parse_config
from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.paper.mlp import measure as mlp
from tangentlens.pipeline import run
from tangentlens.store import open_run
from tests.support.fake_setting import FakeConfig, fake, measure


def test_a_run_holds_everything_and_replays(tmp_path):
    config = FakeConfig(scale=2.0)
    folder = run(config, tmp_path / "run", settings=fake())
    assert {path.name for path in folder.iterdir()} == {
        "about.json",
        "config.toml",
        "environment.json",
        "results.json",
        "report.html",
        "arrays",
    }
    stored = open_run(folder)
    again = parse_config(stored.config_text, settings=fake())
    assert again == config
    second = run(again, tmp_path / "again", settings=fake())
    assert (second / "results.json").read_bytes() == (folder / "results.json").read_bytes()
    for name in ("seed-0000", "seed-0001", "seed-0002"):
        assert (folder / "arrays" / f"{name}.safetensors").is_file()


def test_figures_are_means_over_the_seeds_that_have_them(tmp_path):
    stored = open_run(run(FakeConfig(), tmp_path / "run", settings=fake()))
    x, sometimes = stored.figures["x"], stored.figures["sometimes"]
    assert (x.value, x.n, x.seeds, x.unit) == (1.0, 3, (0, 1, 2), "count")
    half = 4.302652729911275 / np.sqrt(3)  # t_{0.975, 2} times the standard error of 0, 1, 2
    np.testing.assert_allclose(x.interval, (1 - half, 1 + half))
    assert (sometimes.value, sometimes.n, sometimes.seeds) == (1.0, 2, (0, 2))
    assert stored.environment["seconds"] == pytest.approx(sum(record.seconds for record in stored.seeds))


def test_a_failed_run_leaves_only_its_draft_and_resume_keeps_what_was_done(tmp_path):
    measured: list[int] = []

    def failing(config, seed, progress):
        measured.append(seed)
        if seed == 2 and len(measured) == 3:
            raise KeyboardInterrupt
        return measure(config, seed, progress)

    with pytest.raises(KeyboardInterrupt):
        run(FakeConfig(), tmp_path / "run", settings=fake(failing))
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    run(FakeConfig(), tmp_path / "run", settings=fake(failing), resume=True)
    assert measured == [0, 1, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_killed_run_leaves_only_its_draft(tmp_path):
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from tests.support.fake_setting import FakeConfig, fake, measure
from tangentlens.pipeline import run
def killed(config, seed, progress):
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(config, seed, progress)
run(FakeConfig(), Path({str(tmp_path / "run")!r}), settings=fake(killed))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    folder = run(FakeConfig(), tmp_path / "run", settings=fake(), resume=True)
    assert [record.seed for record in open_run(folder).seeds] == [0, 1, 2]


def test_a_report_that_fails_leaves_no_run(tmp_path, monkeypatch):
    def broken(folder):
        raise StoreError("no room", where=str(folder))

    monkeypatch.setattr(pipeline, "build_report", broken)
    with pytest.raises(StoreError):
        run(FakeConfig(), tmp_path / "run", settings=fake())
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]


def test_progress_is_told_seeds_and_the_stages_inside(tmp_path):
    told: list[tuple[str, int, int]] = []
    run(FakeConfig(seeds=(4,)), tmp_path / "run", settings=fake(), progress=lambda *step: told.append(step))
    assert told == [("seeds", 0, 1), ("work", 0, 1), ("work", 1, 1), ("seeds", 1, 1)]


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_must_be_different_and_not_negative(tmp_path, seeds):
    with pytest.raises(InvalidInputError, match="seeds"):
        run(FakeConfig(seeds=seeds), tmp_path / "run", settings=fake())
    assert not list(tmp_path.iterdir())


def test_a_config_of_no_setting_is_refused(tmp_path):
    class Stranger(BaseModel):
        pass

    with pytest.raises(InvalidInputError, match="Stranger"):
        run(Stranger(), tmp_path / "run")


def test_the_mlp_runs_end_to_end_and_twice_the_same(tmp_path):
    small = {
        "seeds": [1],
        "data": {"p": 5},
        "model": {"width": 16},
        "training": {"epochs": 30, "measure_every": 10, "learning_rate": 0.05},
    }
    config = mlp.Config.model_validate(small)
    first, second = (open_run(run(config, tmp_path / name)) for name in ("first", "second"))
    figures = [
        {key: figure for key, figure in stored.figures.items() if figure.unit != "seconds"}
        for stored in (first, second)
    ]
    assert figures[0] == figures[1]
    for one, other in zip(first.seeds, second.seeds, strict=True):
        assert one.names == other.names
        for name in one.names:
            np.testing.assert_array_equal(one.array(name), other.array(name))
    assert json.loads((first.folder / "results.json").read_text()).keys() == first.figures.keys()
    assert config_text(config) == first.config_text
