"""The factors of a use give the gradient that autograd gives, for every role that an axis can play."""

import pytest
import torch

from tangentlens.kernels.factored.factors import canonical_order, factors_of, materialise, materialise_sum
from tangentlens.kernels.tracing.layouts import Layout
from tangentlens.kernels.tracing.rules import Use

N, R = 3, 2


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# labels: n = 0, t = 1, h = 2, i = 3, o = 4
SIZES = {0: N, 1: 4, 2: 2, 3: 5, 4: 6}
USES = {
    "linear": ((4, 3), (0, 3), (0, 4)),
    "positions": ((4, 3), (0, 1, 3), (0, 1, 4)),
    "positions before examples": ((4, 3), (1, 0, 3), (1, 0, 4)),
    "heads": ((2, 4, 3), (0, 1, 2, 3), (0, 1, 2, 4)),
    "scale": ((2,), (0, 1, 2), (0, 1, 2)),
    "bias": ((4,), None, (0, 1, 4)),
    "an axis of V alone": ((4, 3), (0,), (0, 4)),
    "an axis summed from x": ((4, 3), (0, 1, 3), (0, 4)),
    "an axis of y alone": ((3,), (0, 3), (0, 4)),
    "the same operand for all examples": ((4, 3), (1, 3), (0, 1, 4)),
}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", USES)
def test_gradients_of_a_use(name, transposed):
    value_labels, operand_labels, output_labels = USES[name]
    value = normal(*(SIZES[a] for a in value_labels), seed=0)
    if transposed:
        value, value_labels = value.permute(*reversed(range(value.ndim))), value_labels[::-1]
    operand = None if operand_labels is None else normal(*(SIZES[a] for a in operand_labels), seed=1)
    gradient = normal(R, *(SIZES[a] for a in output_labels), seed=2)
    use = Use(value, value_labels, operand, operand_labels or (), output_labels, scale=1.5)
    factors = factors_of(use, gradient, Layout(output_labels.index(0)), N)

    # the gradient with respect to V of each example, with a label r = 5 and every axis in full
    letters = "nthiorz"

    def spelled(labels):
        return "".join(letters[a] for a in labels)

    terms, spelling = [1.5 * gradient], ["r" + spelled(output_labels)]
    if operand is not None:
        terms, spelling = [*terms, operand], [*spelling, spelled(operand_labels)]
    missing = [a for a in value_labels if a not in {*output_labels, *(operand_labels or ())}]
    for axis in missing:
        terms, spelling = [*terms, torch.ones(SIZES[axis], dtype=torch.float64)], [*spelling, letters[axis]]
    canonical = [value_labels[axis] for axis in canonical_order(value)]
    expected = torch.einsum(f"{','.join(spelling)}->nr{spelled(canonical)}", *terms)
    torch.testing.assert_close(materialise(factors), expected)
    torch.testing.assert_close(materialise_sum(factors), expected.sum((0, 1)))
    assert factors.extents.value == value.numel()
    torch.testing.assert_close(materialise(factors.rows(slice(1, 3))), expected[1:3])


def test_a_gather_is_a_one_hot_operand():
    value, index = normal(7, 5, seed=0), torch.tensor([[0, 2, 2], [6, 1, 0], [3, 3, 3]])
    present = index != 2
    gradient = normal(R, N, 3, 5, seed=2)
    use = Use(value, (8, 3), index, (0, 1), (0, 1, 3), one_hot=8, present=present)
    factors = factors_of(use, gradient, Layout(0), N)
    codes = torch.nn.functional.one_hot(index, 7).double() * present[..., None]
    expected = torch.einsum("ntv,rnti->nrvi", codes, gradient)
    torch.testing.assert_close(materialise(factors), expected)
    torch.testing.assert_close(materialise_sum(factors), expected.sum((0, 1)))


@pytest.mark.parametrize("layout", [Layout(0, 1, 4), Layout(0, 4, 1), Layout(0, 2, 2)], ids=str)
def test_merged_positions(layout):
    operand, gradient = normal(4 * N, 5, seed=1), normal(R, 4 * N, 6, seed=2)
    use = Use(normal(6, 5, seed=0), (4, 3), operand, (0, 3), (0, 4))
    factors = factors_of(use, gradient, layout, N)
    x = operand.unflatten(0, (layout.outer, N, layout.inner))
    g = gradient.unflatten(1, (layout.outer, N, layout.inner))
    torch.testing.assert_close(materialise(factors), torch.einsum("anbi,ranbo->nroi", x, g))
