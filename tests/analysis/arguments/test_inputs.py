"""Inputs come from whatever holds them, read once and in order."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tangentlens.analysis.arguments.inputs import read_inputs
from tangentlens.errors import InvalidInputError

MODEL = nn.Linear(3, 2)
X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 4


def read(inputs, **keywords):
    return read_inputs(inputs, MODEL, memory=2**30, **keywords)


class Named(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, i):
        return {"x": X[i], "labels": int(Y[i])}


class Stream(IterableDataset):
    def __iter__(self):
        yield from ((row.numpy(), int(label)) for row, label in zip(X, Y, strict=True))


def test_tensors_arrays_and_containers_are_one_batch():
    assert torch.equal(read(X).inputs, X)
    assert torch.equal(read(X.double().numpy()).inputs, X)
    assert torch.equal(read((X, Y)).inputs[1], Y)
    assert torch.equal(read({"x": X, "mask": None}).inputs["x"], X)


@pytest.mark.parametrize(
    "inputs", [TensorDataset(X, Y), DataLoader(TensorDataset(X, Y), batch_size=7), Stream(), DataLoader(Stream(), 6)]
)
def test_data_sets_give_inputs_and_labels_in_order(inputs):
    batch = read(inputs)
    assert torch.equal(batch.inputs, X)
    assert torch.equal(batch.labels, Y)


def test_dicts_of_a_data_set_give_up_their_labels():
    batch = read(Named())
    assert torch.equal(batch.inputs["x"], X)
    assert torch.equal(batch.labels, Y)


def test_a_limit_reads_no_further():
    read_so_far = []

    class Counted(Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            read_so_far.append(i)
            return X[i]

    batch = read(Counted(), limit=5)
    assert (batch.N, batch.left_out, read_so_far) == (5, 15, list(range(5)))
    assert read(X, limit=5).left_out == 15


def test_more_than_memory_holds_is_refused_with_a_limit():
    with pytest.raises(InvalidInputError) as caught:
        read_inputs(TensorDataset(X), MODEL, memory=60)
    assert "limit=" in caught.value.remedy


@pytest.mark.parametrize("inputs", [[], TensorDataset(X[:0]), ["a", "b"]])
def test_what_is_no_input_is_refused(inputs):
    with pytest.raises(InvalidInputError):
        read(inputs)


@pytest.mark.parametrize("limit", [0, 1.5, True])
def test_a_limit_is_a_number_of_examples(limit):
    with pytest.raises(InvalidInputError, match="limit"):
        read(np.asarray(X), limit=limit)
