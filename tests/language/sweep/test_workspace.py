"""A sweep that was cut off goes on where it stopped, and ends where one without interruption ends."""

import pytest
import torch

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.language.model import language_model
from tangentlens.language.sweep import results, workspace
from tangentlens.language.sweep.approximate_modes import ApproximateModes
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.sweep import sweep
from tests.support import language_zoo as zoo


class Stopped(Exception):  # noqa: N818 - no error: somebody pressed Ctrl-C
    """Raised in the middle of a sweep."""


def stop_at(stage: int):
    def progress(what: str, done: int, _total: int) -> None:
        if what == "sweep" and done == stage:
            raise Stopped

    return progress


OPTIONS = {"geometry": "raw", "directions": 6, "modes": 4, "probes": 2, "pilot_windows": 4}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_interrupted_sweep_ends_as_one_that_was_not(tmp_path, stage):
    lm, batch = language_model(zoo.tiny("gemma3")), zoo.windows(9)
    whole = sweep(lm, batch, **OPTIONS)
    with pytest.raises(Stopped):
        sweep(lm, batch, work=tmp_path, progress=stop_at(stage), **OPTIONS)
    seen = []
    again = sweep(lm, batch, work=tmp_path, progress=lambda *args: seen.append(args), **OPTIONS)
    assert [done for what, done, _ in seen if what == "sweep"] == list(range(stage, 4))  # the last norm, two blocks ...
    assert not any(what == "pilot" for what, _, _ in seen)
    assert whole.groups == again.groups
    for group in whole.groups:
        mine, theirs = whole.modes[group], again.modes[group]
        assert torch.equal(mine.pairs.vectors, theirs.pairs.vectors), group
        assert torch.equal(mine.residuals, theirs.residuals)
        assert mine.pairs.products == theirs.pairs.products


def test_a_finished_sweep_is_read_and_not_made_again(tmp_path, monkeypatch):
    lm, batch = language_model(zoo.tiny("llama")), zoo.windows(5)
    first = sweep(lm, batch, work=tmp_path, record=total_score, **OPTIONS)
    monkeypatch.setattr("tangentlens.language.sweep.sweep.stage_inputs", None)  # it would fail if it were called
    again = sweep(lm, batch, work=tmp_path, record=refuse, **OPTIONS)
    assert torch.equal(first.basis, again.basis)
    assert first.windows == again.windows
    for group in first.groups:
        assert torch.equal(first.modes[group].statistics["total"], again.modes[group].statistics["total"])


def test_names_of_before_still_work_and_warn():
    lm, batch = language_model(zoo.tiny("llama")), zoo.windows(5)
    with pytest.warns(DeprecationWarning, match="record="):
        found = sweep(lm, batch, read=total_score, **OPTIONS)
    modes = found.modes[found.groups[0]]
    with pytest.warns(DeprecationWarning, match="statistics"):
        assert modes.readings is modes.statistics
    with pytest.warns(DeprecationWarning, match="modes_of"):
        assert found.swept(found.groups[0]) is modes
    assert set(modes.statistics) == {"total"}


def test_the_seconds_of_earlier_calls_count(tmp_path, monkeypatch):
    lm, batch, clock = language_model(zoo.tiny("llama")), zoo.windows(5), [0.0]
    monkeypatch.setattr(results.time, "perf_counter", lambda: clock[0])

    def a_minute_a_stage(what: str, done: int, _total: int) -> None:
        clock[0] += 60.0 if what == "sweep" else 0.0
        if done == 3 and clock[0] < 200:
            raise Stopped

    with pytest.raises(Stopped):
        sweep(lm, batch, work=tmp_path, progress=a_minute_a_stage, **OPTIONS)
    clock[0] += 1000.0  # nobody works
    again = sweep(lm, batch, work=tmp_path, progress=a_minute_a_stage, **OPTIONS)
    stages = 3  # the last norm and two blocks; the third is made twice, and counts once
    assert again.seconds == 60.0 * stages
    assert sweep(lm, batch, work=tmp_path, progress=a_minute_a_stage, **OPTIONS).seconds == again.seconds


def total_score(kernel: CompressedKernel, modes: ApproximateModes, _basis: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"total": (kernel @ modes.pairs.vectors).sum()[None]}


def refuse(_kernel: CompressedKernel, _modes: ApproximateModes, _basis: torch.Tensor) -> dict[str, torch.Tensor]:
    raise AssertionError


@pytest.mark.parametrize("change", ["batch", "weights", "directions", "geometry", "format"])
def test_a_folder_of_another_sweep_is_refused(tmp_path, change, monkeypatch):
    model, batch = zoo.tiny("gpt2"), zoo.windows(5)
    sweep(language_model(model), batch, work=tmp_path, **OPTIONS)
    options = dict(OPTIONS)
    if change == "batch":
        batch = zoo.windows(5, seed=2)
    elif change == "weights":
        model.transformer.h[1].mlp.c_fc.weight.data.mul_(1.5)
    elif change == "format":
        monkeypatch.setattr(workspace, "_FORMAT", 0)
    else:
        options[change] = {"directions": 5, "geometry": "centred"}[change]
    with pytest.raises(InvalidInputError, match="another model, other windows, other options"):
        sweep(language_model(model), batch, work=tmp_path, **options)


def test_what_cannot_be_resumed_is_refused(tmp_path):
    lm, batch = language_model(zoo.tiny("gpt2")), zoo.windows(5)
    with pytest.raises(InvalidInputError, match="a group over several blocks"):
        sweep(lm, batch, work=tmp_path, **{**OPTIONS, "groups": "all"})
    with pytest.raises(InvalidInputError, match="kernels cannot be kept"):
        sweep(lm, batch, work=tmp_path, **{**OPTIONS, "modes": None})


def test_damaged_files_are_named(tmp_path):
    lm, batch = language_model(zoo.tiny("gpt2")), zoo.windows(5)
    sweep(lm, batch, work=tmp_path, **OPTIONS)
    (tmp_path / "basis.safetensors").write_bytes(b"cut")
    with pytest.raises(StoreError, match=r"basis\.safetensors"):
        sweep(lm, batch, work=tmp_path, **OPTIONS)
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read or written"):
        sweep(lm, batch, work=tmp_path, **OPTIONS)
