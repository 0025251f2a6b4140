"""The geometries of the logits against the Jacobian of what they stand for, by automatic differentiation."""

import pytest
import torch
from torch import Tensor

from tangentlens.kernels.geometry import CappedGeometry, ConstantGeometry, FisherGeometry

_GENERATOR = torch.Generator().manual_seed(0)
U = torch.randn(40, 6, generator=_GENERATOR, dtype=torch.float64)
HIDDEN = torch.randn(3, 6, generator=_GENERATOR, dtype=torch.float64)
CAP = 2.0


def capped(r: Tensor) -> Tensor:
    return CAP * torch.tanh(U @ r / CAP)


def squared(factor: Tensor) -> Tensor:
    return factor @ factor.mT


@pytest.mark.parametrize("name", ["raw", "centred"])
@pytest.mark.parametrize("head", ["linear", "capped"])
def test_the_factor_squared_is_the_gram_matrix_of_the_logits_jacobian(name, head):
    logits = capped if head == "capped" else lambda r: U @ r
    geometry = CappedGeometry(name, U, CAP) if head == "capped" else ConstantGeometry(name, U)
    J = torch.stack([torch.func.jacrev(logits)(r) for r in HIDDEN])  # (n, V, d)
    if name == "centred":
        J = J - J.mean(1, keepdim=True)
    assert torch.allclose(squared(geometry.factors(HIDDEN)), J.mT @ J)
    assert torch.equal(geometry.left_out(HIDDEN), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("cap", [None, CAP])
def test_fisher_is_the_softmax_covariance_up_to_what_it_says(cap):
    geometry = FisherGeometry(U, cap)
    logits = capped if cap else lambda r: U @ r
    for r, factor, left_out in zip(HIDDEN, geometry.factors(HIDDEN), geometry.left_out(HIDDEN), strict=True):
        J, p = torch.func.jacrev(logits)(r), torch.softmax(logits(r), dim=0)
        exact = J.T @ (torch.diag(p) - torch.outer(p, p)) @ J
        assert float(left_out) < 1e-3
        assert float((exact - squared(factor)).trace() / exact.trace()) == pytest.approx(float(left_out), abs=1e-9)
        assert torch.allclose(squared(factor), exact, atol=2e-3 * float(exact.abs().max()))


@pytest.mark.parametrize("name", ["raw", "centred"])
def test_logit_directions_of_modes_are_eigenvectors_of_the_logits_kernel(name):
    geometry = ConstantGeometry(name, U)
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    K = rows @ rows.T  # of one window's hidden state
    root = geometry.factors(HIDDEN[:1])[0]
    values, vectors = torch.linalg.eigh(root @ K @ root)
    logits = U - U.mean(0) if name == "centred" else U
    lifted = geometry.logit_directions(vectors, HIDDEN[0])
    assert torch.allclose(logits @ K @ logits.T @ lifted, lifted * values, atol=1e-8)
    assert torch.allclose(lifted.norm(dim=0), torch.ones(6, dtype=torch.float64))
