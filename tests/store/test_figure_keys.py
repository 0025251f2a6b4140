"""Keys come apart into what they were built from."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.store import figure_keys
from tangentlens.store.figure_keys import FigureKey, GroupOverlap, LabelScore, Ranked, family_of, geometry_of, method_of

KINDS = [kind for kind in vars(figure_keys).values() if isinstance(kind, type) and issubclass(kind, FigureKey)]
KINDS.remove(FigureKey)
PLAIN = st.text("abcXYZ019_=-", min_size=1, max_size=8).filter(lambda text: text != "macro")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_key_comes_apart_into_its_parts(kind, data):
    key = kind(**{field.name: data.draw(PLAIN) for field in dataclasses.fields(kind)})
    assert kind.parse(str(key)) == key


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
