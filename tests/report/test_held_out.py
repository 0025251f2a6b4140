import numpy as np
import pytest
import torch

from tangentlens.alignment.selection import layers_chosen_on_train, select_modes
from tangentlens.report.held_out import choose
from tangentlens.report.language_run import LanguageRun, language_run
from tangentlens.store import open_run
from tests.support.synthetic_language_run import language_measurement, store_language_run, with_arrays


def read(folder, **changes) -> LanguageRun:
    run = language_run(open_run(store_language_run(folder, language_measurement(**changes))))
    assert run is not None
    return run


@pytest.mark.parametrize("source", ["raw", "pca"])
def test_the_choice_is_that_of_the_selection_in_alignment(tmp_path, source):
    run = read(tmp_path / "run")
    found = choose(run, source)
    scores = torch.from_numpy(run.record.array(f"{source}.scores")).transpose(0, 1)
    for i in range(len(run.labels)):
        label = torch.from_numpy(run.record.array("labels.matrix")[:, i : i + 1]).bool()
        train = torch.from_numpy(run.record.array("labels.train")[:, i]).bool()
        selected = select_modes(scores, label, train)
        assert found.mode[:, i].tolist() == selected.mode[:, 0].tolist()
        assert found.layer[i] == layers_chosen_on_train(selected).layer[0]


def test_the_test_half_chooses_nothing(tmp_path):
    """With the test half's scores shuffled the choice stays, and the measure of the chosen mode is read off."""
    run = read(tmp_path / "run")
    found, auroc = choose(run, "raw"), run.record.array("raw.auroc")
    best = found.best(auroc)
    for i, layer in enumerate(found.layer):
        assert best[i] == auroc[layer, found.mode[layer, i], i]


@pytest.mark.parametrize("absent", ["raw.scores", "labels.matrix", "labels.train"])
def test_without_what_it_needs_there_is_no_choice(tmp_path, absent):
    assert choose(read(tmp_path / "run", omit=(absent,)), "raw") is None


def test_a_label_without_windows_in_the_train_half_leaves_no_choice(tmp_path):
    measurement = language_measurement()
    measurement.arrays["labels.train"][:, 0] = 0
    emptied = language_run(open_run(store_language_run(tmp_path / "emptied", measurement)))
    assert choose(emptied, "raw") is None


def test_a_stored_choice_is_shown_as_it_is(tmp_path):
    """Another mode than the scores would give: the page is about what the figures are about."""
    before = choose(read(tmp_path / "run"), "raw")
    modes = language_measurement().arrays["raw.values"].shape[1]
    stored = {"raw.chosen.mode": (before.mode + 1) % modes, "raw.layer": before.layer}
    changed = with_arrays(language_measurement(), stored)
    found = choose(language_run(open_run(store_language_run(tmp_path / "changed", changed))), "raw")
    np.testing.assert_array_equal(found.mode, stored["raw.chosen.mode"])
