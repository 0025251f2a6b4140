import numpy as np
import pytest
import torch

from tangentlens.errors import StoreError
from tangentlens.records import Measurement
from tangentlens.store.arrays import (
    evidence_path,
    read_measurement,
    read_seed,
    read_seeds,
    seed_path,
    write_evidence,
    write_measurement,
)


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
        words={"labels.names": ("NOUN", "ü\u0000<b>")},
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
    assert record.words == {"labels.names": ("NOUN", "ü\u0000<b>")}
    assert read_measurement(path).words == record.words
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


def test_evidence_lies_beside_the_measurement_and_is_read_with_it(folder):
    write_measurement(folder, measurement(3), seconds=2.0)
    added = Measurement(3, {"a.b": 9.0, "late": 1.0}, {"late": "ratio"}, {"more": torch.ones(2)}, ("a later note",))
    assert write_evidence(folder, added, seconds=1.0) == evidence_path(folder, 3)
    (record,) = read_seeds(folder)
    assert (record.figures["a.b"], record.figures["late"], record.figures["missing"]) == (9.0, 1.0, None)
    assert record.notes == ("a pair did not converge", "a later note")
    assert (record.seconds, record.units["late"]) == (3.0, "ratio")
    assert record.names == {*measurement(3).arrays, "more"}
    np.testing.assert_array_equal(record.array("more"), [1, 1])
    np.testing.assert_array_equal(record.array("transposed"), measurement(3).arrays["transposed"])


def test_a_measurement_comes_back_whole(folder):
    again = read_measurement(write_measurement(folder, measurement(), 0.0))
    assert (again.seed, again.units, again.notes) == (3, measurement().units, measurement().notes)
    assert again.figures["a.b"] == 1.5
    assert np.isnan(again.figures["missing"])
    for name, array in measurement().arrays.items():
        assert torch.equal(again.arrays[name], array)
    with pytest.raises(StoreError, match="seed-0009"):
        read_measurement(seed_path(folder, 9))
