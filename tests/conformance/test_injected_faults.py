"""Injected faults are caught twice: by the check of each call, and by the comparison with the oracle."""

from dataclasses import replace
from importlib import import_module

import pytest

import tangentlens as tl
from tangentlens.kernels.factored import assembly as factored
from tangentlens.kernels.factored import collecting
from tangentlens.kernels.tracing.layouts import Layout
from tests.support.model_grammar.oracle import computed, judge
from tests.support.model_grammar.specs import Spec

entk, pilots = import_module("tangentlens.kernels.entk"), import_module("tangentlens.kernels.tracing.pilots")

MERGED = [
    Spec(pieces=("position-major linear",), T=4, seed=1),
    Spec(pieces=("example-major linear",), T=8, reader="last", seed=2),
    Spec(pieces=("nn.MultiheadAttention",), T=12, N=20, seed=556),
    Spec(pieces=("nn.TransformerEncoder",), T=8, seed=116520, outputs="full"),
    Spec(stem="patches", pieces=("axial attention",), T=6, reader="mean", seed=3),
    Spec(pieces=("conv over merged examples",), T=7, M=3, seed=200115),
    Spec(pieces=("shared at several places",), T=5, dtype="float32", reader="some", seed=5),
]
TIED = [
    Spec(pieces=("layer used twice",), seed=1),
    Spec(pieces=("tied linears",), reader="mean", outputs="full", seed=2),
    Spec(pieces=("tied autoencoder",), M=4, seed=3),
    Spec(stem="tokens", pieces=("linear",), head="tied head", T=6, reader="mean", seed=4),
    Spec(pieces=("mlp", "again"), dtype="float32", outputs="index", seed=5),
    Spec(pieces=("cells in a loop",), reader="last", T=5, seed=6),
]
PLAIN = [
    Spec(pieces=("linear",), seed=1),
    Spec(pieces=("nn.LSTM",), T=7, reader="last", seed=2),
    Spec(stem="picture", pieces=("conv2d",), outputs="full", seed=3),
    Spec(pieces=("einsum attention",), groups="module", M=6, seed=4),
    Spec(pieces=("slices", "+layer norm"), reader="all", dtype="float32", N=12, seed=5),
]


def _swapped(use, gradient, layout, examples):
    """Take positions for examples where they are merged into one axis."""
    return _part(use, gradient, Layout(layout.axis, layout.inner, layout.outer), examples)


def _scaled(use, gradient, layout, examples):
    """Make every factor of an output half a percent too long."""
    found = _part(use, gradient, layout, examples)
    return replace(found, right=1.005 * found.right)


def _without_cross_terms(first, second, sizes, **options):
    """Leave out the products of two different uses of a weight."""
    pairs = zip(first, second, strict=True)
    return sum(_contract([a], [b], sizes, **options) for a, b in pairs)


_part, _contract = collecting.factors_of, factored.contract
FAULTS = [
    *((collecting, "factors_of", _swapped, spec) for spec in MERGED),
    *((factored, "contract", _without_cross_terms, spec) for spec in TIED),
    *((collecting, "factors_of", _scaled, spec) for spec in PLAIN),
]
faults = pytest.mark.parametrize(
    ("module", "name", "fault", "spec"), FAULTS, ids=lambda value: getattr(value, "__name__", str(value))
)


@pytest.mark.parametrize("spec", [*MERGED, *TIED, *PLAIN], ids=str)
def test_without_a_fault_all_agree(spec):
    verdict = judge(replace(spec, method="factored"))
    assert verdict.outcome == "agreed", verdict.reason
    assert computed(spec).check <= (1e-6 if spec.dtype == "float64" else 2e-3)


@faults
def test_the_check_of_the_call_catches_it(module, name, fault, spec, monkeypatch):
    monkeypatch.setattr(module, name, fault)
    with pytest.raises(tl.NumericalError, match="differ from automatic differentiation"):
        computed(spec, method="factored")


@faults
def test_the_comparison_with_the_oracle_catches_it(module, name, fault, spec, monkeypatch):
    monkeypatch.setattr(module, name, fault)
    verdict = judge(spec, method="factored", check=False)
    assert verdict.outcome == "failed", verdict


@pytest.mark.parametrize("spec", MERGED[:4], ids=str)
def test_a_layout_that_is_guessed_is_not_used(spec, monkeypatch):
    """The first candidate in the place of the proven one: the pilots' own gradients expose it, or the check does."""
    monkeypatch.setattr(pilots, "prove_layout", lambda axis, more, *_: Layout(axis, _per_example(more, axis), 1))
    assert judge(spec, method="factored").outcome in ("agreed", "refused")
    monkeypatch.setattr(pilots, "prove_layout", lambda axis, more, *_: Layout(axis, 1, _per_example(more, axis)))
    assert judge(spec, method="factored").outcome in ("agreed", "refused")


def _per_example(evidence, axis):
    return evidence.result.shape[axis] // evidence.examples


@pytest.mark.parametrize("spec", PLAIN, ids=str)
def test_a_check_that_sees_nothing_is_caught_by_the_comparison(spec, monkeypatch):
    monkeypatch.setattr(collecting, "factors_of", _scaled)
    monkeypatch.setattr(entk, "check_entries", lambda *_: 0.0)
    assert computed(spec, method="factored").check == 0
    assert judge(spec, method="factored").outcome == "failed"
