"""Large products and eigenproblems by the second library agree with torch, on degenerate spectra too."""

import pytest
import torch

from tangentlens.eigen import blas
from tests.support.eigen_cases import full, modular_addition_kernel, uniform, with_spectrum

LARGE = 480  # rows from which LAPACK's drivers are chosen
SPECTRA = {
    "distinct": torch.logspace(0, -6, LARGE, dtype=torch.float64),
    "copies": torch.cat([full(30, 3), full(60, 2), uniform(LARGE - 90)]),
    "close": torch.cat([3 + 1e-13 * uniform(70), uniform(LARGE - 70)]),
    "one value": torch.ones(LARGE, dtype=torch.float64),
    "zero": torch.zeros(LARGE, dtype=torch.float64),
}


@pytest.mark.parametrize("matrix", [*map(with_spectrum, SPECTRA.values()), modular_addition_kernel(23, 64)],
                         ids=[*SPECTRA, "modular addition"])  # fmt: skip
@pytest.mark.parametrize("k", [1, 45, 96, LARGE])
def test_top_eigenpairs_of_a_large_matrix(matrix, k):
    values, vectors = blas.top_eigh(matrix, k)
    scale = max(float(matrix.abs().max()), 1e-30)
    expected = torch.linalg.eigvalsh(matrix).flip(0)[:k]
    torch.testing.assert_close(values, expected, atol=1e-12 * scale, rtol=1e-12)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(k, dtype=torch.float64), atol=2e-13, rtol=0)
    torch.testing.assert_close(matrix @ vectors, vectors * values, atol=1e-12 * scale, rtol=0)


def test_a_subset_with_fewer_pairs_than_asked_for_is_replaced(monkeypatch):
    matrix, eigh = with_spectrum(SPECTRA["copies"]), blas.scipy.linalg.eigh

    def fewer(A, driver, **options):
        values, vectors = eigh(A, driver=driver, **options)
        return (values[1:], vectors[:, 1:]) if driver == "evr" else (values, vectors)

    monkeypatch.setattr(blas.scipy.linalg, "eigh", fewer)
    values, vectors = blas.top_eigh(matrix, 40)
    assert vectors.shape == (LARGE, 40)
    torch.testing.assert_close(values, SPECTRA["copies"].sort(descending=True).values[:40], atol=1e-12, rtol=0)


def test_a_large_product():
    A, B = uniform(1000 * 1000).view(1000, 1000), uniform(1000 * 128, seed=2).view(1000, 128)
    assert A.numel() * B.shape[1] > blas._LARGE
    torch.testing.assert_close(blas.multiply(A, B), A @ B, rtol=1e-12, atol=0)
