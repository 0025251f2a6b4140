import torch

from tangentlens.controls.null_models import permuted_columns, permuted_labels


def test_labels_keep_their_distribution_and_lose_their_place():
    labels = torch.arange(60) % 5
    found = permuted_labels(labels, torch.Generator().manual_seed(0))
    assert torch.equal(found.sort().values, labels.sort().values)
    assert not torch.equal(found, labels)
    assert torch.equal(found, permuted_labels(labels, torch.Generator().manual_seed(0)))


def test_parts_keep_their_rows_and_lose_each_other():
    inputs = torch.arange(40.0).reshape(10, 4)
    found = permuted_columns(inputs, (1, 3), torch.Generator().manual_seed(1))
    for part in (slice(0, 1), slice(1, 4)):
        assert {tuple(row) for row in found[:, part].tolist()} == {tuple(row) for row in inputs[:, part].tolist()}
    assert not torch.equal(found[:, 0] + 1, found[:, 1])
