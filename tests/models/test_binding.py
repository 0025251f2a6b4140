"""Analyses run on a private copy: whatever leads to a parameter is found, and nothing of the user's is changed."""

import functools
import threading
import warnings

import pytest
import torch
from torch import nn

import tangentlens as tl
from tangentlens.models.binding import bind
from tests.support.model_zoo import HiddenScale, jacobians, reduced, relative_error

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class ManyWays(nn.Module):
    """Reaches its layers by attribute, list, dict, bound method, partial function, closure and hook."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(4, 4) for _ in range(4))
        self.listed, self.named, self.bound = [self.b], {"c": (self.c,)}, self.through
        self.partly = functools.partial(self.mixed, layer=self.d)
        captured = self.a
        self.closed = lambda x: torch.tanh(captured(x))
        self.a.register_forward_hook(lambda _module, _inputs, output: output + self.d.bias)

    def through(self, x):
        return self.b(x).sin()

    def mixed(self, x, layer):
        return layer(x) * 0.5

    def forward(self, x):
        hidden = self.closed(x) + self.listed[0](x)
        return self.bound(hidden) + self.named["c"][0](hidden) + self.partly(hidden)


def build() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return ManyWays().double()


@pytest.mark.parametrize("method", ["factored", "matrix_free", "dense"])
def test_every_way_to_a_parameter_is_followed(method):
    model = build()
    ntk = tl.entk(model, X, groups="parameter", method=method)
    for name, jacobian in jacobians(model, X).items():
        assert relative_error(ntk[name].dense(), reduced(jacobian, "trace")) < 1e-10, name


def test_a_parameter_behind_an_operation_that_no_one_can_watch_is_refused():
    model = nn.Linear(4, 4).double()
    weight = nn.Parameter(torch.ones(4, dtype=torch.float64))
    model.scale = weight
    model.register_forward_hook(lambda _module, _inputs, output: HiddenScale.apply(output, weight))
    with pytest.raises(tl.UnsupportedModelError, match="reference from outside"):
        tl.entk(model, X)


def test_a_copy_changes_nothing_of_the_original():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.seen, self.calls = nn.Linear(4, 4), [], 0
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            self.seen.append(1)
            self.last = self.layer(x)
            return self.last

    model = Keeps().double()
    copy = bind(model, {})
    assert copy.layer is not model.layer
    assert copy.layer.weight is model.layer.weight
    tl.entk(model, X)
    assert (model.calls, model.seen) == (0, [])
    assert not hasattr(model, "last")


def test_inputs_that_a_model_overwrites_stay_as_they_were():
    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x.mul_(2))

    before = X.clone()
    for method in ("factored", "matrix_free", "dense"):
        tl.entk(Overwrites().double(), X, method=method).total.dense()
    assert torch.equal(X, before)


def test_a_kernel_is_that_of_the_parameters_at_the_call():
    model = build()
    ntk = tl.entk(model, X, method="matrix_free")
    before = ntk.total.dense()
    with torch.no_grad():
        model.b.weight.mul_(2)
    assert torch.equal(ntk.total.dense(), before)


def test_parameters_that_change_while_they_are_shared_are_noticed():
    model = nn.Sequential(nn.Linear(4, 6000), nn.Tanh(), nn.Linear(6000, 2)).double()
    ntk = tl.entk(model, X, method="matrix_free", memory_budget="2.65MB")  # too small for a copy of 340 kB
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(tl.NumericalError, match="changed during the call"):
        ntk.total @ torch.ones(len(X), dtype=torch.float64)


def test_warnings_and_attention_are_as_before_after_calls_in_threads():
    filters, flash = list(warnings.filters), torch.backends.cuda.flash_sdp_enabled()
    model = build()
    threads = [threading.Thread(target=multiply, args=(model,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == filters
    assert torch.backends.cuda.flash_sdp_enabled() == flash


def multiply(model: nn.Module) -> None:
    for _ in range(5):
        tl.entk(model, X, method="matrix_free").total.dense()
