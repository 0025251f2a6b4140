import math

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
    told = pairs([2.0, 1.0, 0.5], [1e-9, 1e-3, 1e-8]).explain()
    assert "1 of 3" in told
    assert "mode 1" in told
    assert "max_products" in told


def test_the_overlap_with_nothing_has_no_percent() -> None:
    assert math.isnan(SubspaceOverlap(torch.zeros(0, dtype=torch.float64), 0.0, 0).percent)
    assert SubspaceOverlap(torch.ones(2, dtype=torch.float64), 2.0, 4).percent == 50.0
