"""Uses of parameters in a forward pass: operands, results, and the calls that no rule explains."""

import pytest
import torch
from torch import nn

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.recording import record_calls, record_uses, watch_calls
from tangentlens.models.functional import functional_model

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Raw(nn.Module):
    def __init__(self, forward) -> None:
        super().__init__()
        self.w, self._call = nn.Parameter(torch.linspace(1, 2, 12, dtype=torch.float64).reshape(4, 3)), forward

    def forward(self, x):
        return self._call(x, self.w)


def has_rows(_position, _name, result):
    return tuple(getattr(result, "shape", ()))[:1] == (len(X),)


def recorded(forward, **options):
    model = functional_model(Raw(forward))
    return record_uses(model, X, model.trainable, has_rows, **options)


def test_a_use_holds_operand_result_and_gradient_edge():
    recording = recorded(lambda x, w: torch.tanh(x) @ w.T, keep_results=True)
    (use,) = recording.uses
    assert use.name == "matmul"
    assert use.use.operand.equal(X.tanh())
    assert not use.use.operand.requires_grad
    assert use.shape == (5, 4)
    assert use.result.equal(recording.output)
    (gradient,) = torch.autograd.grad(recording.output.sum(), [use.edge])
    assert gradient.equal(torch.ones(5, 4, dtype=torch.float64))
    assert not recording.unexplained


def test_what_carries_no_batch_is_parametric():
    (use,) = recorded(lambda x, w: x @ (2 * w).T).uses
    assert use.use.value.equal(2 * torch.linspace(1, 2, 12, dtype=torch.float64).reshape(4, 3).T)


def test_an_operand_is_kept_from_before_it_is_overwritten_by_the_call():
    (use,) = recorded(lambda x, w: (x + 0).mul_(w[0])).uses
    assert use.use.operand.equal(X)


def test_a_call_without_a_rule_is_unexplained():
    recording = recorded(torch.cdist)
    assert not recording.uses
    assert [call.name for call in recording.unexplained] == ["cdist"]


def test_complex_numbers_are_unexplained():
    recording = recorded(lambda x, w: (torch.complex(x, x) * w[0]).real)
    assert [call.name for call in recording.unexplained] == ["mul"]


def test_an_operand_overwritten_later_is_refused():
    def overwriting(x, w):
        hidden = x + 0
        out = hidden @ w.T
        hidden.zero_()
        return out

    with pytest.raises(UnsupportedModelError, match="overwritten in place"):
        recorded(overwriting)


def test_calls_and_their_shapes():
    model = functional_model(Raw(lambda x, w: torch.tanh(x) @ w.T))
    recording = record_calls(model, X)
    assert ("tanh", (torch.Size([5, 3]),)) in recording.calls
    assert ("matmul", (torch.Size([5, 4]),)) in recording.calls
    shown = []
    output, made = watch_calls(model, {}, X, lambda position, name, _: bool(shown.append((position, name))) or True)
    assert output.equal(recording.output)
    assert made == len(shown) == recording.made
