"""The geometries of the logits against the Jacobian of what they stand for, by automatic differentiation."""

import pytest
import torch
from torch import Tensor

from tangentlens.errors import NumericalError
from tangentlens.language.head import Head
from tangentlens.language.sweep import fisher
from tangentlens.language.sweep.fisher import FisherGeometry, logit_geometry

_GENERATOR = torch.Generator().manual_seed(0)
U = torch.randn(40, 6, generator=_GENERATOR, dtype=torch.float64)
BIAS = torch.randn(40, generator=_GENERATOR, dtype=torch.float64)
HIDDEN = torch.randn(3, 6, generator=_GENERATOR, dtype=torch.float64)
HEADS = {
    "linear": Head(U),
    "biased": Head(U, BIAS),
    "scaled": Head(U, BIAS, 0.25),
    "capped": Head(U, None, 1.0, 2.0),
    "everything": Head(U, BIAS, 1.7, 3.0),
}


def logits_of(head: Head, r: Tensor) -> Tensor:
    """Written out again, so that the head's own formulas are tested too."""
    y = head.scale * U @ r + (0 if head.bias is None else head.bias)
    return y if head.soft_cap is None else head.soft_cap * torch.tanh(y / head.soft_cap)


def metric(name: str, logits: Tensor) -> Tensor:
    if name == "fisher":
        p = torch.softmax(logits, dim=0)
        return torch.diag(p) - torch.outer(p, p)
    eye = torch.eye(len(logits), dtype=torch.float64)
    return eye - 1 / len(logits) if name == "centred" else eye


def exact(name: str, head: Head, r: Tensor) -> Tensor:
    """J^T M J of one window."""
    J = torch.func.jacrev(lambda state: logits_of(head, state))(r)
    return J.T @ metric(name, logits_of(head, r)) @ J


@pytest.mark.parametrize("name", ["raw", "centred", "fisher"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_factor_squared_is_the_metric_pulled_back_through_the_logits(name, head):
    roots = logit_geometry(head, name).roots(HIDDEN, 4)
    expected = torch.stack([exact(name, head, r) for r in HIDDEN])
    assert torch.allclose(roots.factors @ roots.factors, expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(roots.left_out, torch.zeros(3, dtype=torch.float64))
    if name == "fisher":
        held = torch.linalg.eigvalsh(expected)[:, -4:].sum(1)
        assert torch.allclose((roots.factors @ roots.own).square().sum((1, 2)), held)


@pytest.mark.parametrize("name", ["raw", "centred", "fisher"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_logit_directions_of_modes_are_eigenvectors_of_the_logits_kernel(name, head):
    geometry = logit_geometry(head, name)
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    K, r = rows @ rows.T, HIDDEN[0]  # of one window's hidden state
    root = geometry.factors(HIDDEN[:1])[0]
    values, vectors = torch.linalg.eigh(root @ K @ root)
    J = torch.func.jacrev(lambda state: logits_of(head, state))(r)
    M = metric(name, logits_of(head, r))
    lifted = geometry.logit_directions(vectors, r)  # M^(1/2) of it is an eigenvector of M^(1/2) J K J^T M^(1/2)
    moved = J @ K @ J.T @ M @ lifted
    assert torch.allclose(M @ moved, M @ lifted * values, atol=1e-8)
    assert torch.allclose((lifted.T @ M @ lifted).diagonal(), torch.ones(6, dtype=torch.float64))


def wide(tokens: int, spread: float, dtype: torch.dtype) -> tuple[Head, Tensor]:
    """A head of many tokens whose softmax is nearly uniform, or as peaked as asked."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(tokens, 24, generator=generator, dtype=dtype) * torch.linspace(0.2, 2, 24, dtype=dtype)
    return Head(weight, spread * torch.randn(tokens, generator=generator, dtype=dtype)), torch.randn(
        2, 24, generator=generator, dtype=dtype
    )


def covariance(head: Head, r: Tensor) -> Tensor:
    z = head.weight.double() @ r.double() + head.bias.double()
    p = torch.softmax(z, 0)
    rows = p[:, None].sqrt() * (head.weight.double() - p @ head.weight.double())
    return rows.T @ rows


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_no_token_is_dropped_whatever_the_softmax(spread):
    head, hidden = wide(30_000, spread, torch.float32)
    roots = FisherGeometry(head).roots(hidden, 8)
    for r, factor, left_out in zip(hidden, roots.factors, roots.left_out, strict=True):
        S = covariance(head, r)
        assert float((factor @ factor - S).norm() / S.norm()) < 2e-3
        assert float(left_out) < 2e-2


def test_the_error_of_a_sketch_is_measured(monkeypatch):
    """With a sketch forced early, the stated error is the true one along the directions, on average over windows."""
    monkeypatch.setattr(fisher, "_EXACT", 64)
    monkeypatch.setattr(fisher, "_BUCKETS", 256)
    monkeypatch.setattr(fisher, "_ERROR", 1.0)
    monkeypatch.setattr(fisher, "_PROBES", 8)
    head, _ = wide(5_000, 1.0, torch.float64)
    hidden = torch.randn(8, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    roots = FisherGeometry(head).roots(hidden, 6)
    true = []
    for r, factor in zip(hidden, roots.factors, strict=True):
        approximate = factor @ factor
        values, vectors = torch.linalg.eigh(approximate)
        scaled = vectors[:, -6:] / values[-6:].sqrt()
        true.append((scaled.T @ (covariance(head, r) - approximate) @ scaled).norm())
    ratio = roots.left_out / torch.stack(true)
    assert float(torch.stack(true).min()) > 1e-3
    assert 0.8 < float(ratio.mean()) < 1.25, ratio


def test_a_head_that_holds_nan_is_named():
    with pytest.raises(NumericalError, match="NaN"):
        FisherGeometry(Head(torch.full((4, 2), torch.nan))).factors(torch.ones(1, 2))
