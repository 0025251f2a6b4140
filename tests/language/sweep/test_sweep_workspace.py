"""A sweep that was cut off goes on where it stopped, and ends where one without interruption ends."""

import errno
import gc
import sys
from pathlib import Path

import pytest
import torch

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.kernels.factored.factors import Factors as Part
from tangentlens.language.model import language_model
from tangentlens.language.sweep import backward as backward_sweep
from tangentlens.language.sweep import compressed
from tangentlens.language.sweep import workspace as sweep_workspace
from tangentlens.language.sweep.approximate_modes import SweptModes, swept_modes
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.sweep import sweep
from tangentlens.language.sweep.token_shares import token_shares
from tangentlens.language.sweep.workspace import InFolder
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
    first = sweep(lm, batch, work=tmp_path, read=total_score, **OPTIONS)
    monkeypatch.setattr("tangentlens.language.sweep.sweep.stage_inputs", None)  # it would fail if it were called
    again = sweep(lm, batch, work=tmp_path, read=refuse, **OPTIONS)
    assert torch.equal(first.basis, again.basis)
    assert first.windows == again.windows
    for group in first.groups:
        assert torch.equal(first.modes[group].readings["total"], again.modes[group].readings["total"])


def test_the_seconds_of_earlier_calls_count(tmp_path, monkeypatch):
    lm, batch, clock = language_model(zoo.tiny("llama")), zoo.windows(5), [0.0]
    monkeypatch.setattr(sweep_workspace.time, "perf_counter", lambda: clock[0])

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


def test_the_factors_of_one_block_are_gone_before_those_of_the_next_are_made(monkeypatch):
    lm, batch, alive = language_model(zoo.tiny("llama")), zoo.windows(5), []
    chunk = backward_sweep._chunk

    def counted(*args):
        gc.collect()
        alive.append(sum(type(each) is Part for each in gc.get_objects()))
        return chunk(*args)

    with_pilot = sweep(lm, batch, **OPTIONS)
    monkeypatch.setattr(backward_sweep, "_chunk", counted)
    sweep(lm, batch, **{**OPTIONS, "directions": with_pilot.basis})
    assert alive == [0] * (1 + len(lm.blocks))  # the last norm, and the blocks


def test_the_factors_of_a_weight_are_gone_when_its_modes_are_found():
    lm, alive = language_model(zoo.tiny("llama")), []

    def count(_kernel: CompressedKernel, _modes: SweptModes, _basis: torch.Tensor) -> dict[str, torch.Tensor]:
        gc.collect()
        alive.append(sum(type(each) is Part for each in gc.get_objects()))
        return {}

    swept = sweep(lm, zoo.windows(5), read=count, **OPTIONS)
    weights = len(swept.groups) // len(lm.blocks)
    assert alive == list(range(weights, 0, -1)) * len(lm.blocks)


def test_factors_that_would_fill_the_memory_lie_in_files(tmp_path, monkeypatch, caplog):
    lm, batch = language_model(zoo.tiny("gemma3")), zoo.windows(9)
    whole = sweep(lm, batch, **OPTIONS)
    monkeypatch.setattr(sweep_workspace, "free_memory", lambda _device: 0)
    with caplog.at_level("INFO"):
        again = sweep(lm, batch, work=tmp_path, **OPTIONS)
    assert sum("factors go to files" in record.message for record in caplog.records) == len(lm.blocks)
    for group in whole.groups:
        assert torch.equal(whole.modes[group].pairs.vectors, again.modes[group].pairs.vectors), group
    named = {path.name for path in tmp_path.iterdir() if path.suffix == ".bin"}
    assert all(name.startswith(("gradients-", "inputs-")) for name in named)


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left") as caught:
        sweep(language_model(zoo.tiny("gpt2")), zoo.windows(5), work=tmp_path, **OPTIONS)
    assert "Make room on the disk" in str(caught.value)


def total_score(kernel: CompressedKernel, modes: SweptModes, _basis: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"total": (kernel @ modes.pairs.vectors).sum()[None]}


def refuse(_kernel: CompressedKernel, _modes: SweptModes, _basis: torch.Tensor) -> dict[str, torch.Tensor]:
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
        monkeypatch.setattr(sweep_workspace, "_FORMAT", 0)
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


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",  # one-hot, tied to the head
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.input_layernorm.weight",  # a scale: its axis is shared by both factors
        "model.layers.1.mlp.down_proj.weight",  # gradients at the last position alone: the others are left out
    ],
)
def test_shares_of_tokens_add_up_to_the_score_and_are_those_of_the_positions(name):
    lm, batch = language_model(zoo.tiny("gemma3")), zoo.windows(7)
    swept = sweep(lm, batch, groups=[name], directions=5, geometry="raw", probes=2)
    kernel = swept[name]
    assert isinstance(kernel, CompressedKernel)
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(kernel.shape[0], 3, generator=generator, dtype=torch.float64)
    directions = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    windows = torch.tensor([[0, 6], [3, 2], [1, 1]])
    shares = token_shares(kernel, vectors, directions, windows, 6)
    scores = torch.einsum("nrk,rk->kn", (kernel @ vectors).double().unflatten(0, (7, 5)), directions)
    rounding = 1e-10 if kernel.dtype == torch.float64 else 1e-5  # RMSNorm of transformers rounds to float32
    assert torch.allclose(shares.sum(2), scores.gather(1, windows), rtol=0, atol=rounding * float(scores.abs().max()))
    for frame in kernel.frames:
        for part in frame.parts:
            if part.positions is not None:
                seen = torch.zeros(7, 6).scatter_(1, part.positions, 1.0)[windows]
                assert bool((shares[seen == 0].abs() <= 1e-12 * shares.abs().max()).all())
                assert part.positions.shape[1] < 6
    own = torch.randn(7, 5, 3, generator=generator, dtype=torch.float64)  # not the same at all windows
    scores = torch.einsum("nrk,nrk->kn", (kernel @ vectors).double().unflatten(0, (7, 5)), own)
    found = token_shares(kernel, vectors, own, windows, 6).sum(2)
    assert torch.allclose(found, scores.gather(1, windows), rtol=0, atol=rounding * float(scores.abs().max()))
    if "layers.1.mlp" in name:
        assert torch.equal(shares[:, :, :-1], torch.zeros_like(shares[:, :, :-1]))


@pytest.mark.parametrize("tolerance", [1e-1, 1e-9])
def test_the_moves_of_modes_are_those_of_their_vectors_or_are_left_out(tolerance, monkeypatch):
    lm, batch = language_model(zoo.tiny("llama")), zoo.windows(40)
    swept = sweep(lm, batch, groups=["model.layers.0.mlp.down_proj.weight"], directions=6, geometry="raw")
    kernel = swept["model.layers.0.mlp.down_proj.weight"]
    assert isinstance(kernel, CompressedKernel)
    found = swept_modes(kernel, 4, tolerance, lm.d_model)
    expected = kernel.gradients(found.pairs.vectors)
    assert len(found.moves) == len(kernel.frames)
    for moves, gradients in zip(found.moves, expected, strict=True):
        assert torch.allclose(moves, gradients, rtol=0, atol=1e-5 * float(gradients.abs().max()))
    some = (kernel, found.pairs.vectors, torch.ones(6, 4, dtype=torch.float64), torch.arange(4)[:, None], 6)
    known, formed = token_shares(*some, moves=found.moves), token_shares(*some)
    assert torch.allclose(known, formed, rtol=0, atol=1e-5 * float(formed.abs().max()))
    monkeypatch.setattr(compressed, "_WORKSPACE", 1)  # one column at a time
    narrow = swept_modes(kernel, 4, tolerance, lm.d_model)
    assert narrow.moves == ()
    assert torch.allclose(narrow.pairs.values, found.pairs.values, rtol=1e-5)


def test_a_token_that_no_position_after_it_sees_has_no_share():
    """Windows that end early by padding on the right: what follows the last real token cannot matter."""
    lm, batch = language_model(zoo.tiny("llama").float()), zoo.windows(4)
    mask = torch.ones_like(batch["input_ids"])
    mask[:, 4:] = 0
    name = "model.layers.0.mlp.down_proj.weight"
    swept = sweep(lm, {**batch, "attention_mask": mask}, groups=[name], directions=4, geometry="raw", probes=0)
    kernel = swept[name]
    assert isinstance(kernel, CompressedKernel)
    ones = torch.ones(kernel.shape[0], 1, dtype=torch.float64)
    shares = token_shares(kernel, ones, torch.ones(4, 1, dtype=torch.float64), torch.arange(4)[None], 6)
    assert float(shares[:, :, 4:].abs().max()) == 0
    assert float(shares[:, :, 3].abs().min()) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="what is in memory is read from /proc")
def test_pages_are_let_go_and_come_back_from_the_file(tmp_path):
    workspace = InFolder(tmp_path, "fingerprint")
    room = workspace.room("some", (64, 1024), torch.empty(0))
    room.copy_(torch.arange(64 * 1024.0).reshape(64, 1024))

    def resident() -> int:
        """KiB of that file in memory."""
        maps = Path("/proc/self/smaps").read_text().split("some.bin")[1]
        return int(next(line.split()[1] for line in maps.splitlines() if line.startswith("Rss:")))

    assert resident() == 256
    workspace.rest()
    assert resident() == 0
    assert float(room.sum()) == sum(range(64 * 1024))
    assert len(workspace._maps) == 1
    del room
    assert len(workspace._maps) == 0
