"""Views of a parameter: which uses belong together, which maps keep inner products, and the way back."""

import pytest
import torch

from tangentlens.kernels.tracing.parameter_views import (
    Owners,
    ParameterView,
    isometric,
    pull_back,
    pull_back_rows,
    views_of,
)
from tangentlens.kernels.tracing.recording import RecordedUse
from tangentlens.kernels.tracing.rules import Use


def parameter() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 6, generator=generator, dtype=torch.float64).requires_grad_()


def used(value: torch.Tensor) -> RecordedUse:
    edge = torch.autograd.graph.get_gradient_edge(value.sum())
    return RecordedUse(Use(value, (0, 1), None, (), (0, 1)), edge, value.shape, 0, "matmul", "")


def test_transposes_are_one_view_and_other_entries_another():
    w, other = parameter(), parameter()
    uses = [used(w), used(w.T), used(w[:2]), used(other), used(w[:2].T), used(2 * w)]
    views = views_of("w", w, uses, Owners({"w": w, "other": other}))
    assert [view.uses for view in views] == [(0, 1), (2, 4), (5,)]


def test_owners():
    a, b = parameter(), parameter()
    owners = Owners({"a": a, "b": b})
    assert owners.of(a) == {"a"}
    assert owners.of(a[:2].T @ b[:2]) == {"a", "b"}


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([lambda w: w], True),
        ([lambda w: w.T.reshape(3, 8)], True),
        ([lambda w: w[:2], lambda w: w[2:]], True),
        ([lambda w: -w.flip(0)], True),
        ([lambda w: w[:3], lambda w: w[2:]], False),
        ([lambda w: w + w], False),
        ([lambda w: w.expand(2, 4, 6)], False),
        ([lambda w: w / w.norm()], False),
        ([lambda w: w.sign() * w], False),  # an isometry at this w alone
    ],
)
def test_isometric(maps, expected):
    w = parameter()
    assert isometric(w, [ParameterView(each(w), (i,)) for i, each in enumerate(maps)]) is expected


@pytest.mark.parametrize("make", [lambda w: w, lambda w: w.T, lambda w: w[1:] * 3, lambda w: (w @ w.T).tanh()])
def test_the_way_back_is_the_adjoint(make):
    w = parameter()
    value = make(w)
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(3, *value.shape, generator=generator, dtype=torch.float64)
    expected = torch.stack([torch.autograd.grad(value, w, g, retain_graph=True)[0] for g in gradients])
    order = sorted(range(2), key=value.stride, reverse=True)  # the canonical axes
    canonical = gradients.permute(0, *(1 + axis for axis in order))
    torch.testing.assert_close(torch.stack([pull_back(value, w, g) for g in canonical]), expected)
    found = pull_back_rows(ParameterView(value, (0,)), w, canonical)
    torch.testing.assert_close(found, expected.flatten(1))
