import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.config import config_text, read_config
from tangentlens.errors import InvalidInputError
from tangentlens.paper import experiments
from tangentlens.paper.experiments import config_differences, find, names, read_expectations
from tangentlens.records import Figure
from tangentlens.store.about import Expectation


@pytest.mark.parametrize("name", names())
def test_every_experiment_has_a_valid_config_and_sourced_expectations(name):
    experiment = find(name)
    complete = tomllib.loads(config_text(read_config(experiment.config)))
    assert complete["setting"] == experiment.setting
    assert experiments.experiment_of(experiment.setting).name == name
    # A key left to its default would count as a difference in every report.
    assert config_differences(complete, tomllib.loads(experiment.config.read_text())) == ()
    assert experiment.expectations
    assert all(row.source for row in experiment.expectations)


def test_the_mlp_has_one():
    assert "mlp" in names()


def test_the_packaged_folder_comes_first(tmp_path):
    for place in ("packaged", "checkout"):
        (tmp_path / place / "x").mkdir(parents=True)
        (tmp_path / place / "x" / "config.toml").write_text("")
    places = (tmp_path / "packaged", tmp_path / "checkout")
    assert find("x", places).config == tmp_path / "packaged" / "x" / "config.toml"
    assert find("x", (tmp_path / "absent", places[1])).config.parent.parent == places[1]
    assert find("x", places).expectations == ()
    with pytest.raises(InvalidInputError, match="Choose one of: x"):
        find("y", places)
    assert experiments.expectations_for({"setting": "y"}, places) == ()
    assert names((tmp_path / "absent",)) == ()


@given(
    value=st.floats(-10, 10),
    low=st.none() | st.floats(-10, 10),
    high=st.none() | st.floats(-10, 10),
)
def test_a_figure_meets_its_bound_exactly_where_it_lies_inside(value, low, high):
    row = Expectation("k", "s", at_least=low, at_most=high)
    inside = (low is None or value >= low) and (high is None or value <= high)
    assert row.verdict(Figure(value)) == ("meets" if inside else "falls short")
    assert row.bounded == (low is not None or high is not None)


def test_what_has_no_value_is_not_measured_and_what_straddles_is_undecided():
    row = Expectation("k", "s", at_least=93)
    assert row.verdict(None) == row.verdict(Figure(None)) == "not measured"
    assert row.undecided(Figure(93.5, (92.0, 95.0)))
    assert not row.undecided(Figure(94.5, (93.5, 95.0)))
    assert not row.undecided(Figure(94.5))
    assert row.bound == "at least 93"
    assert Expectation("k", "s", at_least=80, at_most=90).bound == "80 to 90"


@pytest.mark.parametrize("text", ["[[figure]]\nkey = 1\nbounds = 3", "figure = 3", "= 3", "[[figure]]\nkey = 'a'"])
def test_expectations_that_cannot_be_read_are_refused(tmp_path, text):
    (tmp_path / "expected.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=r"expected\.toml"):
        read_expectations(tmp_path / "expected.toml")


def test_configs_differ_in_dotted_keys_and_seeds_do_not_count():
    reference = tomllib.loads(Path(find("mlp").config).read_text())
    assert config_differences(reference | {"seeds": [3]}, reference) == ()
    other = reference | {"data": reference["data"] | {"p": 7}}
    assert config_differences(other, reference) == (f"data.p = 7 (there {reference['data']['p']})",)


def test_a_key_that_one_config_lacks_is_not_set():
    assert config_differences({"data": {}}, {"data": {"p": 29}}) == ("data.p = not set (there 29)",)
