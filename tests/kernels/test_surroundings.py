"""Kernels do not depend on what surrounds the call, nor on the form of the inputs; what cannot be right is named."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tangentlens as tl
from tests.support.model_zoo import jacobians, reduced, relative_error

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
METHODS = ["factored", "matrix_free", "dense"]


def mlp() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


class Then(nn.Module):
    """A linear layer followed by a function."""

    def __init__(self, function, width=3):
        super().__init__()
        self.linear, self.function = nn.Linear(4, width), function

    def forward(self, x):
        return self.function(self.linear(x))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "surroundings",
    [
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
    ],
    ids=["inference mode", "no grad", "autocast", "default device"],
)
def test_surroundings_change_nothing(method, surroundings):
    model = mlp()
    wanted = tl.entk(model, X, method=method).total.dense()
    with surroundings():
        found = tl.entk(model, X, method=method).total.dense()
    assert torch.equal(found, wanted)


def test_a_model_and_inputs_made_in_inference_mode():
    with torch.inference_mode():
        model, x = mlp(), X.clone()
        found = tl.entk(model, x).total.dense()
    assert relative_error(found, tl.entk(mlp(), X).total.dense()) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_one_input_that_is_not_finite_is_found_wherever_it_stands(method):
    for row in (0, 17, 39):
        bad = X.clone()
        bad[row, 2] = float("nan")
        with pytest.raises(tl.NumericalError):
            tl.entk(mlp(), bad, method=method).total.dense()


def test_a_derivative_that_is_not_finite_names_the_group():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.second((self.first(x) * 0).abs().sqrt())

    with pytest.raises(tl.NumericalError, match="first"):
        tl.entk(Root(), X, check=False)
    with pytest.raises(tl.NumericalError, match="first"):
        tl.entk(Root(), X, method="matrix_free", check=False)["first"] @ torch.ones(40)


@pytest.mark.parametrize("inputs", [X.numpy(), X.double().numpy(), X.tolist(), (X,), [X], {"input": X}], ids=type)
def test_arrays_and_lists_are_inputs(inputs):
    assert relative_error(tl.entk(mlp(), inputs).total.dense(), tl.entk(mlp(), X).total.dense()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_computed_in_float32_and_said(dtype, method):
    half, x = mlp().to(dtype), X.to(dtype)
    ntk = tl.entk(half, x, method=method)
    wanted = tl.entk(mlp().to(dtype).float(), x.float()).total.dense()
    assert relative_error(ntk.total.dense(), wanted) < 1e-5
    assert "float32" in ntk.explain()
    assert half[0].weight.dtype == dtype


@dataclass
class Returned:
    loss: None
    logits: Tensor


def test_a_record_with_logits_is_an_output():
    wanted = tl.entk(Then(torch.tanh), X)
    assert tl.entk(Then(lambda h: Returned(None, torch.tanh(h))), X).total.shape == wanted.total.shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_outputs_that_a_model_squeezes(method, rows):
    model = Then(lambda h: h.squeeze(), width=1).double()
    x = X[:rows].double()
    expected = sum(reduced(j, "trace") for j in jacobians(Then(lambda h: h, width=1).double(), x).values())
    assert tl.entk(model, x, method=method).total.dense().shape == expected.shape


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda y: y.argmax(-1), "int64"),
        (lambda y: y[:, None], "flatten"),
        (lambda _: None, "NoneType"),
    ],
)
def test_outputs_that_are_none_say_so(output, words):
    with pytest.raises(tl.InvalidInputError, match=words):
        tl.entk(mlp(), X, output=output)


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (nn.DataParallel, r"model\.module"),
        (torch.compile, r"model\._orig_mod"),
        (torch.jit.script, "Python module"),
        (lambda m: nn.Sequential(m, torch.compile(nn.Linear(3, 2))), r"model\.1\._orig_mod"),
        (lambda m: nn.Sequential(m, nn.LazyLinear(3)), "no shape yet"),
    ],
    ids=["data parallel", "compiled", "scripted", "a compiled part", "lazy"],
)
def test_wrapped_models_are_refused_with_what_to_pass_instead(wrap, words):
    with pytest.raises(tl.UnsupportedModelError, match=words):
        tl.entk(wrap(mlp()), X)


def test_a_partial_sum_of_groups_says_what_it_leaves_out():
    ntk = tl.entk(mlp(), X, groups={"first": ["0.*"]})
    assert ntk.left_out == ("2.weight", "2.bias")
    assert "1 groups" in repr(ntk)
    assert "2 parameters in no group" in repr(ntk)
    assert "groups='all'" in ntk.explain()
    assert tl.entk(mlp(), X).left_out == ()


def test_the_check_is_said_and_can_be_left_out():
    assert 0 <= tl.entk(mlp(), X).check < 1e-5
    unchecked = tl.entk(mlp(), X, check=False)
    assert unchecked.check is None
    assert "not checked" in unchecked.explain()


def test_a_budget_that_is_too_small_names_the_smallest():
    x = np.zeros((2000, 4), dtype=np.float32)
    with pytest.raises(tl.OutOfMemoryError, match="smallest that would do") as refusal:
        tl.entk(mlp(), x, method="factored", memory_budget="1MB")
    assert refusal.value.needed > 2000**2 * 8
    assert tl.entk(mlp(), x, memory_budget="1MB").method == "matrix_free"
