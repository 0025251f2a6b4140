import numpy as np
import pytest
import torch

from tangentlens.errors import StoreError
from tangentlens.records import Measurement
from tangentlens.store.arrays import read_seed, read_seeds, seed_path, write_measurement


def measurement(seed: int = 3) -> Measurement:
    shared = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    return Measurement(
        seed=seed,
        figures={"a.b": 1.5, "missing": float("nan")},
        units={"a.b": "percent", "missing": "epoch"},
        arrays={
            "transposed": shared.T,
            "same": shared,
            "with.gradient": torch.ones(2, requires_grad=True),
            "whole": torch.tensor([1, 2]),
            "empty": torch.zeros(0),
        },
        notes=("a pair did not converge",),
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "arrays").mkdir()
    return tmp_path


def test_a_seed_comes_back_with_figures_notes_and_arrays(folder):
    path = write_measurement(folder, measurement(), seconds=2.5)
    assert path == folder / "arrays" / "seed-0003.safetensors"
    record = read_seed(path)
    assert (record.seed, record.seconds, record.notes) == (3, 2.5, ("a pair did not converge",))
    assert record.figures == {"a.b": 1.5, "missing": None}
    assert record.units["missing"] == "epoch"
    assert record.names == set(measurement().arrays)
    np.testing.assert_array_equal(record.array("transposed"), np.arange(6.0).reshape(2, 3).T)
    assert record.array("whole").dtype == np.int64
    assert record.array("transposed").dtype == np.float64


def test_seeds_are_read_in_order(folder):
    for seed in (11, 2, 20000):
        write_measurement(folder, measurement(seed), 0.0)
    assert [record.seed for record in read_seeds(folder)] == [2, 11, 20000]


def test_a_cut_file_is_named_with_the_remedy(folder):
    path = write_measurement(folder, measurement(), 0.0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="resume"):
        read_seed(path)
    with pytest.raises(StoreError, match=r"seed-0004"):
        read_seed(seed_path(folder, 4))


def test_an_array_that_is_not_there_is_a_store_error(folder):
    record = read_seed(write_measurement(folder, measurement(), 0.0))
    with pytest.raises(StoreError, match="nothing"):
        record.array("nothing")


def test_an_interrupted_write_leaves_the_old_file_and_no_other(folder, monkeypatch):
    path = write_measurement(folder, measurement(), 1.0)
    before = path.read_bytes()

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        write_measurement(folder, measurement(), 2.0)
    assert path.read_bytes() == before
    assert list((folder / "arrays").iterdir()) == [path]


def test_an_unwritable_folder_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match="--out"):
        write_measurement(tmp_path / "absent", measurement(), 0.0)
