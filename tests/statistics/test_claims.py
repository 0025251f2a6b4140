import math

import numpy as np
import pytest

from tangentlens.records import Figure
from tangentlens.statistics.claims import evaluate, evidence_figures, sign_flip_p, verdict
from tangentlens.store.about import Claim

SEEDS = tuple(range(10))
UNITS = {"a": "ratio"}


def one(values, null=0.0, side="above", others=()):
    claims = (Claim("c", "a lies above", "a", null, "nothing", side), *others)
    return evaluate(claims, {"a": values, "b": [1.0] * 10}, SEEDS, UNITS)[0]


def test_a_clear_effect_holds_and_its_opposite_does_not():
    values = [2.0 + 0.1 * seed for seed in SEEDS]
    assert one(values).verdict == "holds"
    assert one(values).p == 2**-10
    assert one(values, "b").effect.value == pytest.approx(np.mean(values) - 1)
    assert one(values, side="below").verdict == "does not hold"
    assert one(values, 2.45).verdict == "undecided"


def test_equal_numbers_do_not_hold_and_one_seed_decides_nothing():
    assert one([0.0] * 10).verdict == "does not hold"
    assert one([5.0] + [math.nan] * 9).verdict == "undecided"
    found = one([math.nan] * 10)
    assert (found.verdict, found.effect.value, found.effect.n) == ("undecided", None, 0)


def test_few_seeds_cannot_reach_the_level():
    found = evaluate((Claim("c", "", "a", 0.0, ""),), {"a": [9.0, 9.1, 9.2]}, (0, 1, 2), UNITS)[0]
    assert found.p == 2**-3
    assert found.verdict == "undecided"


def test_seeds_without_one_of_the_two_numbers_do_not_count():
    claim = Claim("c", "", "a", "b", "")
    figures = {"a": [1.0, math.nan, 3.0, 4.0], "b": [0.0, 0.0, math.nan, 1.0]}
    (found,) = evaluate((claim,), figures, (3, 4, 5, 6), UNITS)
    assert found.effect.seeds == (3, 6)
    assert (found.value.value, found.null.value, found.effect.value) == (2.5, 0.5, 2.0)


def test_p_values_are_corrected_over_all_claims_that_have_one():
    other = [Claim(f"c{i}", "", "a", 0.0, "") for i in range(4)]
    missing = Claim("gone", "", "nowhere", 0.0, "")
    found = evaluate((*other, missing), {"a": [1.0 + s for s in SEEDS]}, SEEDS, UNITS)
    assert [each.corrected_p for each in found[:4]] == [pytest.approx(4 * 2**-10)] * 4
    assert math.isnan(found[4].corrected_p)


def test_the_sign_flip_test_counts_all_signs():
    effects = np.array([0.5, -0.2, 1.1, 0.9])
    means = [np.mean(effects * np.array(signs)) for signs in np.array(np.meshgrid(*[[1, -1]] * 4)).reshape(4, -1).T]
    assert sign_flip_p(effects.tolist()) == pytest.approx(np.mean(np.array(means) >= effects.mean() - 1e-12))
    assert math.isnan(sign_flip_p([1.0]))


def test_false_positives_stay_below_the_level():
    random = np.random.default_rng(3)
    draws = random.normal(size=(400, 8))
    p = np.array([sign_flip_p(row.tolist()) for row in draws])
    assert np.mean(p <= 0.05) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)
    assert abs(np.mean(p) - 0.5) < 0.05


def test_the_rule_at_its_edges():
    assert verdict(Figure(1.0, (0.5, 1.5), 9), 0.05) == "holds"
    assert verdict(Figure(1.0, (0.5, 1.5), 9), 0.051) == "undecided"
    assert verdict(Figure(1.0, (-0.1, 2.1), 9), 0.001) == "undecided"
    assert verdict(Figure(-1.0, (-2.0, -0.1), 9), 1.0) == "does not hold"
    assert verdict(Figure(1.0, None, 1), 0.001) == "undecided"


def test_verdicts_become_figures():
    figures = evidence_figures([one([2.0 + 0.1 * seed for seed in SEEDS])])
    assert set(figures) == {f"claim.c.{part}" for part in ("value", "null", "effect", "p", "corrected_p", "verdict")}
    assert figures["claim.c.verdict"].value == 1.0
    assert figures["claim.c.effect"].unit == "ratio"


def test_a_percentage_point_is_the_least_that_counts():
    def evaluated(size):
        claim = Claim("c", "", "a", 0.0, "")
        return evaluate((claim,), {"a": [size + 0.01 * s for s in SEEDS]}, SEEDS, {"a": "percent"})[0]

    assert evaluated(0.2).verdict == "does not hold"
    assert evaluated(0.2).effect.value == pytest.approx(0.245)
    assert evaluated(0.955).verdict == "undecided"
    assert evaluated(1.5).verdict == "holds"


def _inside(p, low, high, value=0.1, null=0.0, side="above"):
    claim = Claim("c", "", "a", null, "", side, p="q")
    return evaluate((claim,), {"a": [value], "q": [p]}, (0,), UNITS, {"a": (low, high)})[0]


def test_one_seed_is_evaluated_by_its_own_p_and_interval_where_a_claim_names_them():
    assert _inside(0.01, 0.02, 0.2).verdict == "holds"
    assert _inside(0.2, 0.02, 0.2).verdict == "undecided"
    assert _inside(0.01, -0.02, 0.2).verdict == "undecided"
    assert _inside(0.9, -0.3, -0.1, value=-0.2).verdict == "does not hold"
    found = _inside(0.01, 0.02, 0.2, null=0.5, side="below")
    assert found.effect.interval == pytest.approx((0.3, 0.48))
    assert found.p == 0.01


def test_a_claim_about_networks_is_not_decided_by_an_interval_inside_one():
    found = evaluate((Claim("c", "", "a", 0.0, ""),), {"a": [9.0]}, (0,), UNITS, {"a": (8.0, 10.0)})[0]
    assert found.verdict == "undecided"
    assert found.effect.interval is None


def test_several_seeds_are_evaluated_over_seeds_even_where_each_has_a_p():
    claim = Claim("c", "", "a", 0.0, "", p="q")
    figures = {"a": [2.0 + 0.1 * seed for seed in SEEDS], "q": [1.0] * 10}
    found = evaluate((claim,), figures, SEEDS, UNITS, {"a": (-1.0, 1.0)})[0]
    assert found.p == 2**-10
    assert found.verdict == "holds"
