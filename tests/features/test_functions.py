import torch

from tangentlens.features.functions import principal_functions, random_functions


def test_principal_functions_are_orthonormal_scores_and_stop_at_the_rank():
    random = torch.Generator().manual_seed(0)
    low = torch.randn(30, 3, generator=random) @ torch.randn(3, 12, generator=random) + 5
    found = principal_functions(low, 8)
    assert found.shape == (30, 3)
    torch.testing.assert_close(found.T @ found, torch.eye(3, dtype=torch.float64))
    centred = (low - low.mean(dim=0)).double()
    torch.testing.assert_close(found @ (found.T @ centred), centred, atol=1e-5, rtol=0)
    assert principal_functions(low, 2).shape == (30, 2)


def test_random_functions_are_orthonormal_with_mean_zero():
    found = random_functions(50, 7, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.T @ found, torch.eye(7, dtype=torch.float64))
    assert float(found.sum(dim=0).abs().max()) < 1e-12
