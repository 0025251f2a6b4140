import math
from dataclasses import replace

import torch

from tangentlens.records import Eigenpairs, SubspaceOverlap


def pairs(values: list[float], residuals: list[float], tol: float = 1e-6) -> Eigenpairs:
    found = torch.tensor(residuals, dtype=torch.float64)
    vectors = torch.eye(len(values), dtype=torch.float64)
    return Eigenpairs(torch.tensor(values, dtype=torch.float64), vectors, found, found <= tol, 0)


def test_value_errors_are_residual_norms_and_never_undefined() -> None:
    errors = pairs([4.0, -2.0, 0.0, 0.0], [0.5, 0.25, math.inf, 0.0]).value_errors
    assert errors.tolist() == [2.0, 0.5, math.inf, 0.0]


def test_a_result_explains_itself() -> None:
    assert "all 2 eigenpairs converged" in pairs([2.0, 1.0], [1e-9, 1e-8]).explain()
    explanation = pairs([2.0, 1.0, 0.5], [1e-9, 1e-3, 1e-8]).explain()
    assert "1 of 3" in explanation
    assert "mode 1" in explanation
    assert "max_products" in explanation


def test_pairs_that_rounding_keeps_from_converging_are_not_told_to_multiply_more() -> None:
    explanation = pairs([1.0, 1e-12], [1e-16, 1e-3]).explain()
    assert "1 of 2" in explanation
    assert "rounding" in explanation
    assert "max_products" not in explanation


def test_the_rank_counts_leading_pairs_above_rounding() -> None:
    assert pairs([1.0, 1e-3, 1e-15, 1e-16], [0.0] * 4).rank == 2
    assert replace(pairs([1.0, 1e-3, 1e-15], [0.0] * 3), eps=2.0**-23).rank == 2
    assert replace(pairs([1.0, 1e-3, 1e-15], [0.0] * 3), eps=2.0**-10).rank == 1
    assert pairs([0.0, 0.0], [0.0, 0.0]).rank == 0
    assert pairs([-1.0, -2.0], [0.0, 0.0]).rank == 0
    assert "zero to rounding" in pairs([0.0, 0.0], [0.0, 0.0]).explain()


def test_modes_are_the_converged_pairs_within_the_rank() -> None:
    some = pairs([3.0, 2.0, 1.0, 1e-17], [1e-9, 0.5, 1e-9, 0.0])
    assert torch.equal(some.modes, torch.eye(4, dtype=torch.float64)[:, [0, 2]])


def test_the_overlap_with_nothing_has_no_percent() -> None:
    assert math.isnan(SubspaceOverlap(torch.zeros(0, dtype=torch.float64), 0.0, 0).percent)
    assert SubspaceOverlap(torch.ones(2, dtype=torch.float64), 2.0, 4).percent == 50.0
