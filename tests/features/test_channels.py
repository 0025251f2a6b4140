import pytest
import torch

from tangentlens.errors import InvalidInputError
from tangentlens.features.channels import channel_overlaps


def written_out(x):
    """(N * n, n): z^a in columns, by its definition."""
    features = torch.zeros(*x.shape, x.shape[1], dtype=torch.float64)
    for a in range(x.shape[1]):
        features[:, a, a] = x[:, a] / x[:, a].norm()
    return features.flatten(end_dim=1)


def test_overlaps_are_inner_products_with_the_features_written_out():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(7, 4, generator=generator, dtype=torch.float64)
    vectors = torch.linalg.qr(torch.randn(28, 5, generator=generator, dtype=torch.float64)).Q
    features = written_out(x)
    torch.testing.assert_close(features.T @ features, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(channel_overlaps(vectors, x), vectors.T @ features)


def test_an_absent_feature_overlaps_with_nothing_and_wrong_rows_are_refused():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert channel_overlaps(torch.eye(4), x)[:, 1].tolist() == [0.0] * 4
    with pytest.raises(InvalidInputError, match="full kernel"):
        channel_overlaps(torch.eye(3), x)
