"""What cannot be right is refused, with the place and the remedy; injected faults are caught by the guards."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import tangentlens as tl
from tangentlens.kernels.tracing.rules import RULES, Use
from tests.support.model_zoo import HiddenScale, jacobians, reduced, relative_error

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))


def mlp() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


class Lambda(nn.Module):
    """One linear layer followed by a function."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(4, 4), function

    def forward(self, x):
        return self.function(self.linear(x))


class WithHiddenScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return HiddenScale.apply(torch.tanh(self.linear(x)), self.scale)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.append(nn.Dropout(0.5)), ["Dropout", "'3'", "model.eval()"]),
        (lambda m: m.append(nn.BatchNorm1d(3)), ["BatchNorm1d", "'3'", "model.eval()"]),
    ],
    ids=["dropout", "batch norm"],
)
def test_layers_in_training_mode_are_named(change, words):
    model = mlp()
    change(model)
    with pytest.raises(tl.UnsupportedModelError) as refusal:
        tl.entk(model, X)
    assert all(word in str(refusal.value) for word in words)
    assert model.training
    tl.entk(model.eval(), X)


def test_attention_dropout_in_training_mode_is_named():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0][:, 0]

    with pytest.raises(tl.UnsupportedModelError, match="attention"):
        tl.entk(Attention(), X.view(3, 3, 4))


def test_randomness_without_a_layer_is_found_and_leaves_no_trace():
    state = torch.get_rng_state()
    with pytest.raises(tl.UnsupportedModelError, match="same inputs"):
        tl.entk(Lambda(lambda h: torch.nn.functional.dropout(h, 0.5)).eval(), X)
    torch.set_rng_state(state)
    with pytest.raises(tl.UnsupportedModelError):
        tl.entk(Lambda(lambda h: h + torch.randn_like(h)), X)


def test_examples_that_influence_each_other_are_found():
    with pytest.raises(tl.UnsupportedModelError, match="other examples"):
        tl.entk(Lambda(lambda h: h - h.mean(0)), X)


def test_data_dependent_control_flow_is_refused_with_its_place():
    rare = torch.zeros(50, 4)
    rare[3] = 3.0  # no example of the pilot takes this branch

    def branch(h):
        return torch.exp(h) if bool((h.abs() > 2.5).any()) else torch.tanh(h)

    model = Lambda(branch)
    with torch.no_grad():
        model.linear.weight.copy_(torch.eye(4))
        model.linear.bias.zero_()
    with pytest.raises(tl.UnsupportedModelError, match=r"another way.*test_refusals.py:\d+.*Control flow"):
        tl.entk(model, rare, method="factored")


def test_an_operand_overwritten_after_its_use_is_refused_with_its_place():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            hidden = self.first(x)
            result = self.second(hidden)
            hidden.mul_(2)
            return result + hidden

    with pytest.raises(tl.UnsupportedModelError, match=r"test_refusals.py:\d+"):
        tl.entk(Overwrites(), X)


def test_activations_overwritten_where_nothing_is_lost_are_right():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Parameter(torch.randn(4))

        def forward(self, x):
            hidden = self.first(x)
            hidden += self.second
            hidden[:, 0] = 0.0
            return torch.sigmoid_(hidden)

    model = Overwrites().double()
    ntk = tl.entk(model, X.double(), groups="parameter")
    for name, jacobian in jacobians(model, X.double()).items():
        assert relative_error(ntk[name].dense(), reduced(jacobian, "trace")) < 1e-10


def test_a_parameter_of_another_precision_is_cast_on_its_way():
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
            self.narrow = nn.Parameter(torch.randn(3, 3, dtype=torch.float32))

        def forward(self, x):
            return torch.tanh(x @ self.wide) @ self.narrow.to(x.dtype) + self.narrow.double()[0]

    model = Cast()
    ntk = tl.entk(model, X.double(), groups="parameter", outputs="full")
    for name, jacobian in jacobians(model, X.double()).items():
        assert relative_error(ntk[name].dense(), reduced(jacobian.double(), "full")) < 1e-6, ntk.strategies[name]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.randn(9, 5), ["cannot be called", "batch axis"]),
        (torch.zeros(9, 4, dtype=torch.long), ["cannot be called", "dtype"]),
        (torch.zeros(0, 4), ["empty"]),
        ((), ["tensor"]),
        ((X, X[:3]), ["different lengths"]),
    ],
    ids=["shape", "integers", "empty", "no tensor", "lengths"],
)
def test_bad_inputs(inputs, words):
    with pytest.raises(tl.InvalidInputError) as refusal:
        tl.entk(mlp(), inputs)
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda h: h[:, :, None], ["(7, 4, 1)", "output="]),
        (lambda _: None, ["NoneType", "output="]),
        (lambda h: h.argmax(1), ["int64", "output="]),
    ],
    ids=["three axes", "nothing", "integers"],
)
def test_outputs_that_cannot_be_used(function, words):
    with pytest.raises(tl.InvalidInputError) as refusal:
        tl.entk(Lambda(function), X)
    assert words[1] in str(refusal.value)


def test_tuples_mappings_and_a_callable_pick_the_output():
    expected = tl.entk(Lambda(torch.tanh), X).total.dense()
    model = Lambda(torch.tanh)
    model.load_state_dict(Lambda(torch.tanh).state_dict())
    reference = tl.entk(model, X).total.dense()
    for wrap, pick in [
        (lambda h: (torch.tanh(h), None), None),
        (lambda h: {"logits": torch.tanh(h), "loss": 0}, None),
        (lambda h: {"deep": [torch.tanh(h)]}, lambda returned: returned["deep"][0]),
    ]:
        wrapped = Lambda(wrap)
        wrapped.load_state_dict(model.state_dict())
        assert torch.equal(tl.entk(wrapped, X, output=pick).total.dense(), reference)
    assert expected.shape == reference.shape


def test_numbers_that_are_not_finite_are_located():
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    with pytest.raises(tl.NumericalError, match=r"2\.weight"):
        tl.entk(model, X)
    with pytest.raises(tl.NumericalError, match="linear"):
        tl.entk(Lambda(torch.tanh), X * float("inf"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"outputs": "sum"}, ["'sum'", "'trace'"]),
        ({"outputs": 3}, ["output 3", "3 outputs"]),
        ({"outputs": tl.outputs.weighted([1.0])}, ["3 outputs"]),
        ({"outputs": tl.outputs.trace([1.0, -1.0, 0.0])}, ["negative"]),
        ({"groups": "layers"}, ["'layers'", "'module'"]),
        ({"groups": {"a": ["0.wieght"]}}, ["0.wieght", "0.weight"]),
        ({"groups": {"a": ["0.*"], "b": ["*.weight"]}}, ["'a'", "'b'", "0.weight"]),
        ({"groups": {}}, ["no groups"]),
        ({"method": "magic"}, ["'magic'", "'factored'"]),
        ({"inputs2": torch.randn(3, 5)}, ["inputs2"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(tl.InvalidInputError) as refusal:
        tl.entk(mlp(), X, **arguments)
    assert all(word in str(refusal.value) for word in words)


def test_an_unknown_group_is_named():
    with pytest.raises(tl.InvalidInputError, match="The groups are 0, 2"):
        tl.entk(mlp(), X)["1"]


def test_models_without_anything_to_analyse():
    with pytest.raises(tl.InvalidInputError, match="no trainable parameter"):
        tl.entk(mlp().requires_grad_(False), X)


def test_complex_parameters_are_refused_by_name():
    model = mlp()
    model.register_parameter("phase", nn.Parameter(torch.ones(2, dtype=torch.complex64)))
    with pytest.raises(tl.UnsupportedModelError, match="phase"):
        tl.entk(model, X)


def test_integer_parameters_are_constants():
    model = mlp()
    expected = tl.entk(model, X).total.dense()
    model.register_parameter("counts", nn.Parameter(torch.ones(2, dtype=torch.long), requires_grad=False))
    assert torch.equal(tl.entk(model, X).total.dense(), expected)


def test_a_parameter_that_is_never_used_has_a_zero_kernel_and_a_warning():
    model = mlp()
    model.register_parameter("spare", nn.Parameter(torch.ones(5)))
    with pytest.warns(UserWarning, match="spare"):
        ntk = tl.entk(model, X, groups="parameter")
    assert not bool(ntk["spare"].dense().any())


def test_a_rule_that_is_wrong_is_caught_and_not_used(monkeypatch):
    right = RULES["linear"]

    def wrong(call):
        return [Use(u.value, u.value_labels, u.operand, u.operand_labels, u.output_labels, 1.01) for u in right(call)]

    model = mlp().double()
    expected = jacobians(model, X.double())
    monkeypatch.setitem(RULES, "linear", wrong)
    ntk = tl.entk(model, X.double(), groups="parameter")
    for name, jacobian in expected.items():
        assert "differentiated" in ntk.strategies[name]
        assert relative_error(ntk[name].dense(), reduced(jacobian, "trace")) < 1e-10


def test_uses_of_a_parameter_that_nothing_can_see_are_noticed_and_still_right():
    model = WithHiddenScale().double()
    ntk = tl.entk(model, X.double(), groups="parameter")
    assert "differentiated" in ntk.strategies["scale"]
    for name, jacobian in jacobians(model, X.double()).items():
        assert relative_error(ntk[name].dense(), reduced(jacobian, "trace")) < 1e-10


class Once(torch.autograd.Function):
    """A cube with a backward pass that cannot be differentiated again."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


def test_what_torch_differentiates_only_once_has_no_matrix_free_products():
    model = Lambda(Once.apply).double()
    with pytest.raises((tl.UnsupportedModelError, tl.NumericalError)):
        tl.entk(model, X.double(), method="matrix_free").total @ torch.ones(9)
    expected = sum(reduced(j, "trace") for j in jacobians(model, X.double()).values())
    assert relative_error(tl.entk(model, X.double()).total.dense(), expected) < 1e-10


def test_bags_of_embeddings_have_matrix_free_products():
    model = nn.EmbeddingBag(7, 3).double()
    tokens = torch.randint(0, 7, (5, 4), generator=torch.Generator().manual_seed(0))
    expected = reduced(jacobians(model, tokens)["weight"], "trace")
    for method in ("factored", "matrix_free"):
        assert relative_error(tl.entk(model, tokens, method=method).total.dense(), expected) < 1e-10


def test_arguments_of_the_wrong_type_without_a_runtime_type_checker():
    script = """
import torch, tangentlens as tl
for model, inputs in [(torch.tanh, torch.ones(2, 2)), (torch.nn.Linear(2, 2), "text")]:
    try:
        tl.entk(model, inputs)
    except tl.InvalidInputError as error:
        print(error)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "not a torch.nn.Module" in told
    assert "tensor" in told
