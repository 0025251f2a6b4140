"""Both routes of a contraction give the inner products of the materialised gradients."""

from math import prod

import pytest
import torch

from tangentlens.kernels.factored.contraction import (
    Sizes,
    chooses_tokens,
    contract,
    gradient_operations,
    gradient_route,
    token_operations,
    token_route,
)
from tangentlens.kernels.factored.factors import Axes, Factors, materialise

R = 3
ROUTES = {"tokens": token_route, "gradients": gradient_route}


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def factors(n: int, seed: int, *, T: int = 2, swapped: bool = False, one_hot: bool = False) -> Factors:
    """Of a tensor (H, A, B) = (2, 5, 4); swapped: what is left is right."""
    A, B = (4, 5) if swapped else (5, 4)
    right = normal(R, n, T, 1 if one_hot else 2, B, seed=seed + 1)
    axes = Axes((0,), (2,), (1,)) if swapped else Axes((0,), (1,), (2,))
    if one_hot:
        index = torch.randint(A, (n, T), generator=torch.Generator().manual_seed(seed))
        return Factors(index, right, Axes((), (0,), (1,)), A, (A, B))
    return Factors(normal(n, T, 2, A, seed=seed), right, axes, None, (2, 5, 4))


CASES = {
    "one use": lambda n, s: [factors(n, s)],
    "two uses": lambda n, s: [factors(n, s), factors(n, s + 10, T=3)],
    "tied and transposed": lambda n, s: [factors(n, s), factors(n, s + 10, swapped=True)],
    "gathers": lambda n, s: [factors(n, s, one_hot=True), factors(n, s + 10, T=1, one_hot=True)],
}


def expected(first, second, keep):
    one, other = (sum(materialise(use) for use in uses).flatten(2) for uses in (first, second))
    if keep:
        return one.flatten(0, 1) @ other.flatten(0, 1).T
    return torch.einsum("nrp,mrp->nm", one, other)


# uses of different axes have gradients alone
PAIRS = [(c, r) for c in CASES for r in ROUTES if (c, r) != ("tied and transposed", "tokens")]


@pytest.mark.parametrize(("case", "route"), PAIRS)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("workspace", [1, 20_000, 2**30])
def test_both_routes(route, case, keep, workspace):
    first, second = CASES[case](7, 0), CASES[case](5, 100)
    for one, other, shape in ((first, second, (7, 5)), (first, first, (7, 7))):
        found = ROUTES[route](one, other, Sizes(*shape, R, keep), workspace, torch.float64)
        torch.testing.assert_close(found, expected(one, other, keep))


def test_the_route_with_fewer_operations_is_taken():
    uses = CASES["one use"](7, 0)
    for sizes in (Sizes(7, 7, R, False), Sizes(7, 7, R, True), Sizes(500, 500, R, False)):
        extents = [use.extents for use in uses]
        cheaper = token_operations(extents, sizes) <= gradient_operations(extents, sizes)
        assert chooses_tokens(uses, uses, sizes) is cheaper
        assert token_operations(extents, sizes) > 0
    assert prod((2, 5, 4)) == extents[0].value


def test_different_axes_go_by_gradients():
    first = [factors(4, 0)]
    other = [
        Factors(normal(4, 2, 1, 10, seed=3), normal(R, 4, 2, 1, 4, seed=4), Axes((), (0, 1), (2,)), None, (2, 5, 4))
    ]
    sizes = Sizes(4, 4, R, False)
    assert not chooses_tokens(first, other, sizes)
    found = contract(first, other, sizes, workspace=2**20, accumulate=torch.float64)
    torch.testing.assert_close(found, expected(first, other, False))
