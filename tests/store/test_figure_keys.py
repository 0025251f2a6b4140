"""Keys come apart into what they were built from."""

import ast
import json
import pickle
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.store import figure_keys
from tangentlens.store.figure_keys import FigureKey, GroupOverlap, LabelScore, Ranked, family_of, geometry_of, method_of

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = [kind for kind in vars(figure_keys).values() if isinstance(kind, type) and issubclass(kind, FigureKey)]
KINDS.remove(FigureKey)
PLAIN = st.text("abcXYZ019_=-", min_size=1, max_size=8).filter(lambda text: text != "macro")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_key_comes_apart_into_its_parts(kind, data):
    key = kind(*(data.draw(PLAIN) for _ in kind.parts()))
    assert kind.parse(str(key)) == key
    assert {key: 1}[kind(**vars(key))] == 1
    assert [getattr(key, part) for part in kind.parts()] == list(vars(key).values())


@pytest.mark.parametrize("given", [((), {}), (("a", "b", "c"), {}), (("a",), {"group": "b"}), (("a",), {"other": "b"})])
def test_a_key_takes_one_string_for_each_part(given):
    values, named = given
    with pytest.raises(TypeError, match="GroupOverlap takes group, family"):
        GroupOverlap(*values, **named)


def test_a_key_has_its_parts_and_stays_as_it_is():
    key = GroupOverlap("hidden", family="sum")
    with pytest.raises(AttributeError, match="has the parts group, family, not 'block'"):
        key.block  # noqa: B018
    with pytest.raises(AttributeError, match="cannot be changed"):
        key.group = "readout"
    assert repr(key) == "GroupOverlap('hidden', 'sum')"
    assert (key != "overlap.group.hidden.sum.percent", key != GroupOverlap("hidden", "n")) == (True, True)


def test_a_name_is_its_key_and_knows_its_unit():
    assert {figure_keys.ONSET: 1} == {"grokking.onset_epoch": 1}
    for same in (figure_keys.ONSET, deepcopy(figure_keys.ONSET), pickle.loads(pickle.dumps(figure_keys.ONSET))):
        assert (str(same), same.unit) == ("grokking.onset_epoch", "epoch")
    key = GroupOverlap("hidden", "sum")
    assert deepcopy(key) == pickle.loads(pickle.dumps(key)) == key


def test_no_figure_of_a_stored_run_is_spelled_where_figures_are_made_or_shown():
    """Of every string literal in these rooms none is the key of a figure that a small run of a setting has."""
    root = Path(figure_keys.__file__).parents[1]
    stored = {key for path in GOLDEN.glob("*.json") for key in json.loads(path.read_text("utf-8"))["figures"]}
    assert len(stored) > 500
    spelled = {
        (path.name, node.value)
        for room in ("paper", "analysis", "report", "statistics")
        for path in (root / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in stored
    }
    assert spelled == set()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("overlap.group.hidden.weight.sum.percent", GroupOverlap("hidden.weight", "sum")),
        ("leaderboard.pca.best_layer.input.percent", Ranked("pca.best_layer", "input")),
        ("auroc.morph.label.Number=Sing.entk_fisher", LabelScore("auroc", "morph", "Number=Sing", "entk_fisher")),
    ],
)
def test_names_with_dots_stay_whole(text, key):
    assert str(key) == text
    assert type(key).parse(text) == key


def test_other_keys_are_no_such_keys():
    figures = {"overlap.group.chance.percent": 1, "overlap.sum.percent": 2, "overlap.group.W_U.sum.percent": 3}
    assert GroupOverlap.among(figures) == {GroupOverlap("W_U", "sum"): 3}


def test_methods_are_named_after_their_geometry():
    for geometry in ("raw", "centred", "fisher", "pca"):
        assert geometry_of(method_of(geometry)) == geometry
    assert [method_of("raw"), method_of("fisher"), method_of("pca")] == ["entk", "entk_fisher", "pca"]
    assert [family_of("morphology"), family_of("pos")] == ["morph", "pos"]
