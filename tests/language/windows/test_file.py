import pytest
import torch

from tangentlens.errors import StoreError
from tangentlens.language.windows.file import read_windows, write_windows
from tangentlens.language.windows.windows import Windows


def windows():
    return Windows(
        input_ids=torch.arange(24, dtype=torch.int64).reshape(4, 6).T[:3],  # not contiguous
        story=torch.tensor([0, 0, 5]),
        text=("a\x00b", "\u200f\u202eשלום", "\ud7ff é🙂\n"),
        word=("cat", "", "\x07"),
        pos=("NOUN", "X", "PUNCT"),
        morphology=({"Number": "Sing"}, {}, {"a": "b", "c": "d"}),
        source={"text": {"kind": "file"}, "rules": {"quotas": {"NOUN": 1}}, "stories": 6},
        seed=None,
    )


def test_windows_come_back_as_they_were(tmp_path):
    found, stored = read_windows(write_windows(tmp_path / "w.safetensors", windows())), windows()
    for name in ("input_ids", "story"):
        assert torch.equal(getattr(found, name), getattr(stored, name))
        assert getattr(found, name).dtype == torch.int64
    for name in ("text", "word", "pos", "morphology", "source", "seed"):
        assert getattr(found, name) == getattr(stored, name)


@pytest.mark.parametrize("keep", [0, 5, 200])
def test_a_damaged_file_is_a_store_error_with_the_remedy(tmp_path, keep):
    path = write_windows(tmp_path / "w.safetensors", windows())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"w\.safetensors.*again"):
        read_windows(path)
    with pytest.raises(StoreError):
        read_windows(tmp_path / "absent")
    with pytest.raises(StoreError):
        write_windows(tmp_path / "absent" / "w", windows())
