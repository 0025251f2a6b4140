"""Sweeps of every causal family of transformers against autograd, logit by logit: the benchmark's comparisons."""

from itertools import cycle, product

import pytest

pytest.importorskip("transformers", reason="the extra `language` is not installed")

from tests.support.language_families import DENSE, EXPERTS, FAMILIES, OTHERS
from tests.support.language_oracle import GEOMETRIES, PADDINGS, conform

pytestmark = pytest.mark.filterwarnings("ignore")  # those of old modelling code

COMBINATIONS = list(product(GEOMETRIES, PADDINGS))
# one combination for each family, so that every combination is met by several
ONE_EACH = [(family, *which) for family, which in zip(FAMILIES, cycle(COMBINATIONS), strict=False)]
# padding on the left in float64 is NaN in the model itself (mpt), or leaks into its states (recurrent ones)
NO_PADDING_LEFT = ("mpt", "lfm2", "recurrent_gemma")
REFUSED = ("jetmoe", "mamba", "roberta", "rwkv", "xlm")


def check(family: str, geometry: str, padding: str) -> None:
    outcome = conform(family, geometry, padding)
    if family in REFUSED or (family in NO_PADDING_LEFT and padding == "left"):
        assert outcome.verdict in ("refused", "agree")
    else:
        assert outcome.verdict == "agree", outcome
        assert outcome.parameters >= 6


@pytest.mark.parametrize(("family", "geometry", "padding"), ONE_EACH)
def test_a_family_agrees_with_autograd(family, geometry, padding):
    check(family, geometry, padding)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_agrees_in_every_geometry_and_padding(family):
    for geometry, padding in COMBINATIONS:
        check(family, geometry, padding)


def test_enough_families_are_looked_at():
    assert len(DENSE) >= 50
    assert len(set(FAMILIES)) == len(DENSE) + len(EXPERTS) + len(OTHERS)
