"""Reductions: their matrices, what is refused, and that they are data."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.kernels.outputs import Reduction, reduction

EYE = torch.eye(3, dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
BASIS = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

# name -> (reduction, its directions for 3 outputs, rows of the kernel for an example)
REDUCTIONS: dict[str, tuple[Reduction, Tensor, int]] = {
    "full": (tl.outputs.full(), EYE, 3),
    "full scaled": (tl.outputs.full([1, 2, 3]), torch.diag(torch.tensor([1.0, 2, 3]).double()), 3),
    "trace": (tl.outputs.trace(), EYE / 3**0.5, 1),
    "trace weighted": (tl.outputs.trace(WEIGHTS), torch.diag(WEIGHTS.sqrt()), 1),
    "mean": (tl.outputs.mean(), torch.full((3, 1), 1 / 3, dtype=torch.float64), 1),
    "weighted": (tl.outputs.weighted(WEIGHTS.numpy()), WEIGHTS[:, None], 1),
    "weighted in float32": (tl.outputs.weighted(WEIGHTS.float()), WEIGHTS.float().double()[:, None], 1),
    "single": (tl.outputs.single(1), EYE[:, [1]], 1),
    "last": (tl.outputs.single(-1), EYE[:, [2]], 1),
    "directions": (tl.outputs.directions(BASIS), BASIS, 2),
    "directions of a list": (tl.outputs.directions(BASIS.tolist()), BASIS, 2),
    "a word": (reduction("mean"), torch.full((3, 1), 1 / 3, dtype=torch.float64), 1),
    "a number of numpy": (reduction(np.int64(2)), EYE[:, [2]], 1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_is_its_matrix_and_survives_pickling_and_copying(name: str) -> None:
    original, matrix, rows = REDUCTIONS[name]
    for found in (original, pickle.loads(pickle.dumps(original)), copy.deepcopy(original), copy.copy(original)):
        assert (found.name, found.keep) == (original.name, original.keep)
        torch.testing.assert_close(found.directions(3), matrix, rtol=1e-15, atol=0)
        assert found.rows_per_example(3) == rows


def test_a_reduction_keeps_its_numbers_when_the_tensor_they_came_from_changes() -> None:
    weights = WEIGHTS.clone()
    made = tl.outputs.weighted(weights)
    weights.zero_()
    torch.testing.assert_close(made.directions(3), WEIGHTS[:, None])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: tl.outputs.weighted([1.0, 2.0]).directions(3), "numbers were given for 3 outputs"),
        (lambda: tl.outputs.full([1.0]).directions(3), "numbers were given for 3 outputs"),
        (lambda: tl.outputs.trace([1.0, -1.0, 0.0]).directions(3), "negative"),
        (lambda: tl.outputs.trace([1.0, float("nan"), 0.0]).directions(3), "infinite"),
        (lambda: tl.outputs.weighted([float("inf"), 1.0]).directions(2), "infinite"),
        (lambda: tl.outputs.weighted(torch.ones(3, 1)).directions(3), "numbers were given"),
        (lambda: tl.outputs.weighted(torch.ones(3, dtype=torch.complex64)), "complex"),
        (lambda: tl.outputs.weighted(["a"]), "array of real numbers"),
        (lambda: tl.outputs.directions(torch.ones(3)).directions(3), "the basis has shape"),
        (lambda: tl.outputs.directions(torch.ones(3, 0)).directions(3), "the basis has shape"),
        (lambda: tl.outputs.directions(BASIS).directions(4), "the model has 4"),
        (lambda: tl.outputs.single(3).directions(3), "output 3 does not exist"),
        (lambda: tl.outputs.single(-4).directions(3), "output -4 does not exist"),
    ],
)
def test_what_is_no_reduction_is_refused(make, match) -> None:
    with pytest.raises(tl.InvalidInputError, match=match):
        make()
