import json
from dataclasses import replace

import pytest

from tangentlens.errors import InvalidInputError
from tangentlens.records import Measurement
from tangentlens.report.cards.neuronpedia import write_neuronpedia
from tangentlens.report.language_run import without_texts
from tangentlens.store import StoredRun, open_run
from tests.support.synthetic_language_run import language_measurement, store_language_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> StoredRun:
    return open_run(store_language_run(tmp_path_factory.mktemp("neuronpedia") / "run"))


def test_a_file_for_each_layer_with_a_feature_for_each_mode(run, tmp_path):
    files = write_neuronpedia(run, tmp_path / "cards")
    assert [path.name for path in files] == ["layer-0.json", "layer-1.json", "layer-2.json"]
    batch = json.loads(files[2].read_text("utf-8"))
    assert (batch["model_id"], batch["layer"], batch["sae_set"]) == ("gemma-3-270m", "2", "entk-raw-logits")
    assert [feature["feature_index"] for feature in batch["features"]] == [0, 1, 2, 3]

    record, feature = run.seeds[0], batch["features"][3]
    assert feature["pos_values"] == pytest.approx(record.array("raw.raised.logits")[2, 3].tolist(), rel=1e-3)
    assert max(feature["neg_values"]) <= 0
    assert sum(feature["freq_hist_data_bar_heights"]) == 48
    assert len(feature["freq_hist_data_bar_values"]) == len(feature["freq_hist_data_bar_heights"])
    assert feature["tangentlens"]["eigenvalue"] == pytest.approx(record.array("raw.values")[2, 3], rel=1e-3)
    assert set(feature["tangentlens"]["labels"]) == set(record.words["labels.names"])
    assert feature["tangentlens"]["causal_effect"] is None  # not measured for this mode


def test_values_are_the_shares_of_the_score(run, tmp_path):
    feature = json.loads(write_neuronpedia(run, tmp_path)[1].read_text("utf-8"))["features"][0]
    for window in feature["activations"]:
        assert len(window["tokens"]) == len(window["values"]) == 12
        assert sum(window["values"]) == pytest.approx(window["tangentlens"]["score"], abs=0.01)
        largest = max(range(12), key=lambda i: abs(window["values"][i]))
        assert window["qualifying_token_index"] == largest


def test_without_texts_there_are_no_windows_and_no_other_words(run, tmp_path):
    bare = replace(run, seeds=tuple(map(without_texts, run.seeds)))
    feature = json.loads(write_neuronpedia(bare, tmp_path)[0].read_text("utf-8"))["features"][0]
    assert feature["activations"] == []
    assert feature["pos_str"]


@pytest.mark.parametrize(
    "absent", ["raw.raised.tokens", "raw.scores", "raw.auroc", "raw.residuals", "raw.examples.shares"]
)
def test_what_a_run_lacks_is_empty_or_null(tmp_path, absent):
    run = open_run(store_language_run(tmp_path / "run", language_measurement(omit=(absent,))))
    assert len(write_neuronpedia(run, tmp_path / "cards")) == 3


def test_another_run_is_refused_and_nothing_is_written(tmp_path):
    run = open_run(store_language_run(tmp_path / "run", Measurement(0, {}, {}, {})))
    with pytest.raises(InvalidInputError, match="no modes of a language model"):
        write_neuronpedia(run, tmp_path / "cards")
    assert not (tmp_path / "cards").exists()
