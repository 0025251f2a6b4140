"""Every result is data: it can be pickled and copied, and a pickle takes no more bytes than it holds."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

import tangentlens as tl
from tangentlens.operators import DenseOperator


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()


def inputs(n: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WAYS = [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy, copy.copy]
REDUCTIONS = ["full", "trace", "mean", 1, tl.outputs.weighted([0.5, 2.0]), tl.outputs.directions(torch.eye(2))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outputs", REDUCTIONS, ids=str)
@pytest.mark.parametrize("method", ["factored", "dense", "matrix_free"])
def test_a_kernel_survives(way: Callable[[Any], Any], outputs: Any, method: str) -> None:
    ntk = tl.entk(network(), inputs(), outputs=outputs, method=method)
    twin = way(ntk)
    assert twin.groups == ntk.groups
    assert twin.explain() == ntk.explain()
    torch.testing.assert_close(twin.outputs.directions(2), ntk.outputs.directions(2))
    for name in ntk:
        torch.testing.assert_close(twin[name].dense(), ntk[name].dense())
    torch.testing.assert_close(twin.total.dense(), ntk.total.dense())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_eigenpairs_and_overlaps_survive(way: Callable[[Any], Any], method: str) -> None:
    pairs = tl.top_eigenpairs(tl.entk(network(), inputs()).total, k=3, method=method)
    twin = way(pairs)
    for name in ("values", "vectors", "residuals", "converged", "value_errors"):
        torch.testing.assert_close(getattr(twin, name), getattr(pairs, name))
    assert (twin.products, twin.rank, twin.explain()) == (pairs.products, pairs.rank, pairs.explain())
    overlap = tl.subspace_overlap(pairs, inputs())
    torch.testing.assert_close(way(overlap).singular_values, overlap.singular_values)
    assert way(overlap).percent == overlap.percent


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_pickled_eigenpairs_hold_their_vectors_and_not_the_matrix_they_came_from(method: str) -> None:
    A = torch.randn(600, 600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = tl.top_eigenpairs(DenseOperator(A @ A.T), k=2, method=method)
    assert len(pickle.dumps(pairs)) < 2 * 8 * 600 * 2 + 4000
