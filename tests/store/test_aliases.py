"""What earlier versions stored is read by its names of now."""

from tangentlens.config import parse_config
from tangentlens.paper import SETTINGS
from tangentlens.records import Figure
from tangentlens.store import open_run
from tangentlens.store.aliases import current_config, current_keys
from tangentlens.store.results import read_results, write_results
from tests.support.synthetic_language_run import CONFIG, language_measurement, store_language_run


def test_settings_and_keys_have_their_names_of_now():
    assert current_config({"setting": "gemma", "seeds": [1]}) == {"setting": "language", "seeds": [1]}
    assert current_config({"seeds": [1]}) == {"seeds": [1]}
    before = {"causal.gemma.ablate.NOUN.entk.own": 1, "causal.mlp.ablate.entk.accuracy": 2, "x": 3}
    assert list(current_keys(before)) == [
        "causal.language.ablate.NOUN.entk.own",
        "causal.mlp.ablate.entk.accuracy",
        "x",
    ]


def test_a_config_of_before_is_one_of_the_setting():
    assert isinstance(parse_config('setting = "gemma"'), SETTINGS["language"].config)
    assert parse_config('setting = "gemma"') == parse_config('setting = "language"')


def test_a_run_of_before_opens_with_its_figures(tmp_path):
    assert 'setting = "gemma"' in CONFIG
    key = "causal.gemma.ablate.macro.entk.selectivity"
    measured = language_measurement()
    old = type(measured)(0, {**measured.figures, key: 2.0}, {**measured.units, key: "percent"}, measured.arrays)
    run = open_run(store_language_run(tmp_path / "run", old))
    assert run.setting == "language"
    now = "causal.language.ablate.macro.entk.selectivity"
    assert (run.seeds[0].figures[now], run.seeds[0].units[now]) == (2.0, "percent")
    write_results(tmp_path / "results.json", {key: Figure(2.0)})
    assert read_results(tmp_path / "results.json").figures[now].value == 2.0
