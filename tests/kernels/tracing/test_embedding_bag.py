"""Bags of embeddings, written out, equal torch's own."""

import pytest
import torch
from torch.nn import functional

from tangentlens.kernels.tracing.embedding_bag import embedding_bag

WEIGHT = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BAGS = torch.tensor([[0, 2, 2], [6, 1, 3]])
SHARES = torch.rand(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [{"mode": "sum"}, {"mode": "mean"}, {"mode": "max"}, {"mode": "sum", "per_sample_weights": SHARES},
     {"mode": "sum", "padding_idx": 2}],
    ids=str,
)  # fmt: skip
def test_bags_of_one_length(options):
    torch.testing.assert_close(
        embedding_bag(BAGS, WEIGHT, **options), functional.embedding_bag(BAGS, WEIGHT, **options)
    )


def test_bags_between_offsets():
    call = (BAGS.flatten(), WEIGHT, torch.tensor([0, 1]))
    torch.testing.assert_close(embedding_bag(*call), functional.embedding_bag(*call))
