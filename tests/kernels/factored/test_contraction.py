"""Both routes of a contraction give the inner products of the materialised gradients."""

from math import prod

import pytest
import torch

from tangentlens.kernels.factored import contraction
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


def factors(n: int, seed: int, *, T: int = 2) -> Factors:
    """Of a tensor (H, A, B) = (2, 5, 4)."""
    left, right = normal(n, T, 2, 5, seed=seed), normal(R, n, T, 2, 4, seed=seed + 1)
    return Factors(left, right, Axes((0,), (1,), (2,)), None, (2, 5, 4))


def of_matrix(n: int, seed: int, *, T: int = 2, transposed: bool = False, one_hot: bool = False) -> Factors:
    """Of a matrix (5, 4); transposed: its second axis is left; one_hot: its rows are gathered."""
    A, B = (4, 5) if transposed else (5, 4)
    right, axes = normal(R, n, T, 1, B, seed=seed + 1), Axes((), (1,), (0,)) if transposed else Axes((), (0,), (1,))
    if one_hot:
        left = torch.randint(A, (n, T), generator=torch.Generator().manual_seed(seed))
        return Factors(left, right, axes, A, (5, 4))
    return Factors(normal(n, T, 1, A, seed=seed), right, axes, None, (5, 4))


CASES = {
    "one use": lambda n, s: [factors(n, s)],
    "two uses": lambda n, s: [factors(n, s), factors(n, s + 10, T=3)],
    "tied and transposed": lambda n, s: [of_matrix(n, s), of_matrix(n, s + 10, T=3, transposed=True)],
    "gathers": lambda n, s: [of_matrix(n, s, one_hot=True), of_matrix(n, s + 10, T=1, one_hot=True)],
    "a gather and a product": lambda n, s: [of_matrix(n, s, one_hot=True), of_matrix(n, s + 10)],
    "a tied embedding": lambda n, s: [of_matrix(n, s, one_hot=True), of_matrix(n, s + 10, transposed=True)],
}


def expected(first, second, keep):
    one, other = (sum(materialise(use) for use in uses).flatten(2) for uses in (first, second))
    if keep:
        return one.flatten(0, 1) @ other.flatten(0, 1).T
    return torch.einsum("nrp,mrp->nm", one, other)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", CASES)
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


@pytest.mark.parametrize(("workspace", "expected_route"), [(2**30, "tokens"), (20_000, "gradients")])
def test_the_other_route_is_taken_where_a_pair_of_examples_does_not_fit(workspace, expected_route, monkeypatch):
    sizes, taken = Sizes(7, 7, R, False), []
    left, right = normal(7, 20, 1, 50, seed=0), normal(R, 7, 20, 1, 2, seed=1)
    uses = [Factors(left, right, Axes((), (0,), (1,)), None, (50, 2))]
    assert contraction.least_workspace([uses[0].extents], sizes) < 20_000
    for name, route in ROUTES.items():

        def noted(*args, name=name, route=route):
            taken.append(name)
            return route(*args)

        monkeypatch.setattr(contraction, route.__name__, noted)
    monkeypatch.setattr(contraction, "chooses_tokens", lambda *_: True)
    found = contract(uses, uses, sizes, workspace=workspace, accumulate=torch.float64)
    torch.testing.assert_close(found, expected(uses, uses, False))
    assert taken == [expected_route]


def test_different_axes_go_by_gradients():
    first = [factors(4, 0)]
    other = [
        Factors(normal(4, 2, 1, 10, seed=3), normal(R, 4, 2, 1, 4, seed=4), Axes((), (0, 1), (2,)), None, (2, 5, 4))
    ]
    sizes = Sizes(4, 4, R, False)
    assert not chooses_tokens(first, other, sizes)
    found = contract(first, other, sizes, workspace=2**20, accumulate=torch.float64)
    torch.testing.assert_close(found, expected(first, other, False))
