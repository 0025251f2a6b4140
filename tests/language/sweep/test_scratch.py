"""Scratch memory in files: chosen where memory is short, an error where the disk is full, pages dropped on request."""

import errno
import sys
from pathlib import Path

import pytest
import torch

from tangentlens.errors import StoreError
from tangentlens.language.model import language_model
from tangentlens.language.sweep import scratch
from tangentlens.language.sweep.scratch import InFiles
from tangentlens.language.sweep.sweep import sweep
from tests.support import language_zoo as zoo

OPTIONS = {"geometry": "raw", "directions": 6, "modes": 4, "probes": 2, "pilot_windows": 4}


def test_factors_that_would_fill_the_memory_lie_in_files(tmp_path, monkeypatch, caplog):
    lm, batch = language_model(zoo.tiny("gemma3")), zoo.windows(9)
    whole = sweep(lm, batch, **OPTIONS)
    monkeypatch.setattr(scratch, "free_memory", lambda _device: 0)
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
    assert "Free space on the disk" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="what is in memory is read from /proc")
def test_pages_are_dropped_and_come_back_from_the_file(tmp_path):
    files = InFiles(tmp_path)
    some = files.allocate("some", (64, 1024), torch.empty(0))
    some.copy_(torch.arange(64 * 1024.0).reshape(64, 1024))

    def resident() -> int:
        """KiB of that file in memory."""
        maps = Path("/proc/self/smaps").read_text().split("some.bin")[1]
        return int(next(line.split()[1] for line in maps.splitlines() if line.startswith("Rss:")))

    assert resident() == 256
    files.release()
    assert resident() == 0
    assert float(some.sum()) == sum(range(64 * 1024))
    assert len(files._maps) == 1
    del some
    assert len(files._maps) == 0
