"""A batch permuted, split, given little memory or computed by another method gives the same kernel to rounding."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

import tangentlens as tl
from tests.support.model_grammar.draws import DRAWING, specs
from tests.support.model_grammar.oracle import computed
from tests.support.model_grammar.specs import build, inputs

FEW = settings(DRAWING, max_examples=10)
pytestmark = pytest.mark.filterwarnings("ignore:no output depends on")


def _kernels(spec, **options) -> dict[str, Tensor]:
    try:
        ntk = computed(spec, **options)
        return {group: ntk[group].dense() for group in ntk.groups}
    except tl.UnsupportedModelError:
        assume(False)
        raise


def _assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], spec) -> None:
    largest = max(float(kernel.abs().max()) for kernel in wanted.values())
    tolerance = 1e-10 if spec.precision == "float64" else 1e-4
    for group, kernel in wanted.items():
        scale = max(float(kernel.abs().max()), 1e-6 * largest, 1e-300)
        assert float((found[group] - kernel).abs().max()) <= tolerance * scale, f"{group} of {spec}"


def _take(batch, rows):
    if isinstance(batch, dict):
        return {name: value[rows] for name, value in batch.items()}
    return tuple(value[rows] for value in batch) if isinstance(batch, tuple) else batch[rows]


def _double(spec):
    return replace(spec, dtype="float64", M=0, groups="parameter", N=min(8, max(4, spec.N)), method="auto")


@FEW
@given(specs().map(_double))
def test_a_permuted_batch(spec):
    model = build(spec)
    x, _ = inputs(spec, model)
    order = torch.randperm(spec.N, generator=torch.Generator().manual_seed(spec.seed))
    question = {"groups": "parameter", "outputs": "trace"}
    wanted = _kernels(replace(spec, outputs="trace"))
    ntk = tl.entk(model, _take(x, order), **question)
    _assert_same({g: ntk[g].dense() for g in ntk.groups}, {g: k[order][:, order] for g, k in wanted.items()}, spec)


@FEW
@given(specs().map(_double))
def test_crossed_kernels_of_parts(spec):
    model = build(spec)
    x, _ = inputs(spec, model)
    wanted, cut = _kernels(replace(spec, outputs="trace")), spec.N // 3
    parts = [_take(x, slice(0, cut)), _take(x, slice(cut, None))]
    rows = []
    for a in parts:
        row = [tl.entk(model, a, inputs2=b, groups="parameter", outputs="trace") for b in parts]
        rows.append({group: torch.cat([ntk[group].dense() for ntk in row], 1) for group in wanted})
    _assert_same({group: torch.cat([row[group] for row in rows]) for group in wanted}, wanted, spec)


@settings(FEW, max_examples=5)
@given(specs().map(_double))
def test_a_tiny_budget(spec):
    wanted = _kernels(spec)
    try:
        found = _kernels(spec, memory_budget=200_000)
    except tl.OutOfMemoryError:
        assume(False)
    _assert_same(found, wanted, spec)


@FEW
@given(specs().map(_double))
def test_other_methods(spec):
    wanted = _kernels(spec, method="dense")
    _assert_same(_kernels(spec, method="factored"), wanted, spec)
    total = {"all": sum(wanted.values())}
    _assert_same(_kernels(replace(spec, groups="all"), method="matrix_free"), total, spec)
