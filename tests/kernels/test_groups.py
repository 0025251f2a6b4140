"""Groups of parameters: by module, also where a tensor is parametrised, and by pattern."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import tangentlens as tl
from tangentlens.kernels.groups import Group, resolve_groups


class LowRank(nn.Module):
    """LoRA as a parametrisation: W + A B, its own map parametrised again where `nested`."""

    def __init__(self, rows: int, columns: int, nested: bool = False) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(torch.randn(rows, 2)), nn.Parameter(torch.randn(2, columns))
        self.inner = parametrizations.weight_norm(nn.Linear(columns, columns)) if nested else nn.Identity()

    def forward(self, weight: Tensor) -> Tensor:
        return self.inner(weight + self.A @ self.B)


def lora(nested: bool = False) -> nn.Module:
    layer = nn.Linear(4, 5)
    parametrize.register_parametrization(layer, "weight", LowRank(5, 4, nested))
    return layer


def old_style() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Linear(4, 5))


LAYERS = {
    "plain": lambda: nn.Linear(4, 5),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(4, 5)),
    "weight_norm, old": old_style,
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 5)),
    "spectral_norm, old": lambda: nn.utils.spectral_norm(nn.Linear(4, 5)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 5)),
    "LoRA": lora,
    "LoRA, nested": lambda: lora(nested=True),
    "weight and bias": lambda: parametrizations.weight_norm(parametrizations.weight_norm(nn.Linear(4, 5)), "bias"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_parametrised_tensor_belongs_to_its_module(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(LAYERS[name](), nn.Tanh(), nn.Sequential(nn.Linear(5, 4), LAYERS[name]()))
    model = model.double().eval()
    x = torch.randn(6, 4, dtype=torch.float64)
    ntk = tl.entk(model, x)
    assert ntk.groups == ("0", "2.0", "2.1")
    whole = tl.entk(model, x, groups="all", method="dense").total.dense()
    torch.testing.assert_close(ntk.total.dense(), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("parameter", "module"),
    [
        ("weight", "(root)"),
        ("0.weight", "0"),
        ("parametrizations.weight.original", "(root)"),
        ("a.b.parametrizations.weight.original1", "a.b"),
        ("a.parametrizations.weight.0.inner.parametrizations.weight.original0", "a"),
        ("a.parametrizations.weight.1.A", "a"),
        ("parametrizations.weight", "parametrizations"),  # a module of the user's that has this name
        ("a.parametrizations.0.weight", "a.parametrizations.0"),
    ],
)
def test_the_module_of_a_parameter(parameter: str, module: str) -> None:
    assert resolve_groups({parameter: (parameter,)}, "module") == (Group(module, (parameter,)),)


NAMES = {"a.weight": ("a.weight", "b.weight"), "a.bias": ("a.bias",)}


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        ({"x": ["a.*"], "y": ["b.weight"]}, r"'x' and 'y' share the parameter 'a.weight' \(tied, also 'b.weight'\)"),
        ({"x": ["a.bias"], "y": ["a.b*"]}, "share the parameter 'a.bias'"),
        ({"x": ["c.weight"]}, "matches frozen parameters alone: c.weight"),
        ({"x": ["d.weight"]}, "matches no trainable parameter"),
        ({"x": ["a.bias"], "y": []}, r"the group has the patterns \[\]"),
        ({}, "no groups"),
        ("layers", "is unknown"),
    ],
)
def test_groups_that_cannot_be_are_refused(groups, match) -> None:
    with pytest.raises(tl.InvalidInputError, match=match):
        resolve_groups(NAMES, groups, frozen=["c.weight"])
