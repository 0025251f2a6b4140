import numpy as np
import pytest

from tangentlens.errors import InvalidInputError, StoreError
from tangentlens.store import open_run
from tests.support.synthetic_run import store_run, synthetic_measurement


@pytest.fixture
def folder(tmp_path):
    return store_run(tmp_path / "run", [synthetic_measurement(seed) for seed in (1, 0)])


def test_a_run_is_read_whole(folder):
    run = open_run(folder)
    assert run.setting == "mlp"
    assert [record.seed for record in run.seeds] == [0, 1]
    assert run.figures["overlap.sum.percent"].n == 2
    assert run.has("epoch", "spectrum.total")
    assert not run.has("epoch", "nothing")
    np.testing.assert_array_equal(run.arrays("epoch")[0], np.arange(0, 501, 10))


def test_what_is_no_run_is_an_invalid_input(tmp_path):
    with pytest.raises(InvalidInputError, match="not a run"):
        open_run(tmp_path)


@pytest.mark.parametrize("name", ["config.toml", "results.json", "environment.json"])
def test_a_damaged_run_is_a_store_error_that_names_the_file(folder, name):
    (folder / name).write_text("= {")
    with pytest.raises(StoreError, match=name):
        open_run(folder)
