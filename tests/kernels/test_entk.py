"""Every kernel, reduction and group against a plain loop over examples and outputs."""

import pytest
import torch

import tangentlens as tl
from tangentlens.kernels import outputs as reductions
from tests.support.model_zoo import CASES, build, jacobians, reduced, relative_error

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
REDUCTIONS = ["full", "trace", "mean"]


@pytest.fixture(scope="module")
def oracles():
    """Jacobians of every case, computed once."""
    return {case.name: jacobians(*build(case)) for case in CASES}


@pytest.mark.parametrize("outputs", REDUCTIONS)
def test_factored_kernels_equal_the_oracle(case, outputs, oracles):
    model, inputs = build(case)
    ntk = tl.entk(model, inputs, outputs=outputs, groups="parameter", method="factored")
    for name, jacobian in oracles[case.name].items():
        assert relative_error(ntk[name].dense(), reduced(jacobian, outputs)) < 1e-10, ntk.strategies[name]


def test_the_dense_method_is_an_oracle_too(case, oracles):
    """vmap(jacrev), or one example at a time where torch cannot vectorise the model (its fused recurrent calls)."""
    model, inputs = build(case)
    for outputs in REDUCTIONS:
        ntk = tl.entk(model, inputs, outputs=outputs, groups="parameter", method="dense")
        for name, jacobian in oracles[case.name].items():
            assert relative_error(ntk[name].dense(), reduced(jacobian, outputs)) < 1e-10


@pytest.mark.parametrize("outputs", REDUCTIONS)
def test_matrix_free_products_equal_the_oracle(case, outputs, oracles):
    model, inputs = build(case)
    ntk = tl.entk(model, inputs, outputs=outputs, groups="all", method="matrix_free")
    expected = sum(reduced(jacobian, outputs) for jacobian in oracles[case.name].values())
    columns = torch.randn(len(expected), 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert relative_error(ntk["all"] @ columns, expected @ columns) < 1e-10
    assert relative_error(ntk["all"] @ columns[:, 0], expected @ columns[:, 0]) < 1e-10


def test_the_smallest_budget_gives_the_same_kernels(case, oracles):
    model, inputs = build(case)
    for outputs in ("full", "trace"):
        chosen = {"outputs": outputs, "groups": "parameter", "method": "factored"}
        ntk = tl.entk(model, inputs, **chosen, memory_budget=smallest_budget(model, inputs, **chosen))
        for name, jacobian in oracles[case.name].items():
            assert relative_error(ntk[name].dense(), reduced(jacobian, outputs)) < 1e-10


def test_the_smallest_budget_gives_the_same_products(case, oracles):
    model, inputs = build(case)
    chosen = {"outputs": "trace", "groups": "all", "method": "matrix_free"}
    ntk = tl.entk(model, inputs, **chosen, memory_budget=smallest_budget(model, inputs, **chosen))
    expected = sum(reduced(jacobian, "trace") for jacobian in oracles[case.name].values())
    assert relative_error(ntk["all"] @ expected[:, :2], expected @ expected[:, :2]) < 1e-10


def smallest_budget(model, inputs, **arguments) -> int:
    """What the refusal of a budget that is too small says would do."""
    budget = 1
    while True:
        try:
            tl.entk(model, inputs, **arguments, memory_budget=budget)
        except tl.OutOfMemoryError as refusal:
            budget = max(refusal.needed, budget + 1)
        else:
            return budget


def test_float32_models_are_right_to_single_precision(case, oracles):
    model, inputs = build(case, torch.float32)
    ntk = tl.entk(model, inputs, outputs="trace", groups="parameter", method="factored")
    for name, jacobian in oracles[case.name].items():
        assert relative_error(ntk[name].dense(), reduced(jacobian, "trace")) < 1e-5


def test_groups_sum_to_the_total(case, oracles):
    model, inputs = build(case)
    everything = sum(reduced(jacobian, "mean") for jacobian in oracles[case.name].values())
    for groups in ("module", "parameter", "all"):
        ntk = tl.entk(model, inputs, outputs="mean", groups=groups)
        assert relative_error(ntk.total.dense(), everything) < 1e-10
        assert relative_error(sum(ntk[name].dense() for name in ntk.groups), everything) < 1e-10


def test_kernels_are_symmetric_and_positive(case):
    model, inputs = build(case)
    kernel = tl.entk(model, inputs, outputs="full").total.dense()
    assert torch.equal(kernel, kernel.T) or relative_error(kernel, kernel.T) < 1e-14
    assert float(torch.linalg.eigvalsh(kernel)[0]) > -1e-10 * float(kernel.diagonal().max())


@pytest.mark.parametrize("method", ["factored", "matrix_free"])
def test_crossed_kernels(case, method, oracles):
    model, inputs = build(case)
    rows, columns = inputs[:4], inputs[2:]
    for outputs in REDUCTIONS:
        ntk = tl.entk(model, rows, inputs2=columns, outputs=outputs, groups="all", method=method)
        expected = sum(reduced(j[:4], outputs, j[2:]) for j in oracles[case.name].values())
        assert not ntk["all"].symmetric
        assert ntk["all"].shape == tuple(expected.shape)
        assert relative_error(ntk["all"].dense(), expected) < 1e-10


def test_the_order_of_the_batch_does_not_matter(case):
    model, inputs = build(case)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(4))
    kernel = tl.entk(model, inputs, outputs="trace").total.dense()
    shuffled = tl.entk(model, inputs[order], outputs="trace").total.dense()
    assert relative_error(shuffled, kernel[order][:, order]) < 1e-10


def test_combinations_of_outputs(case, oracles):
    model, inputs = build(case)
    outputs = next(iter(oracles[case.name].values())).shape[1]
    basis = torch.randn(outputs, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    chosen = {
        "directions": (reductions.directions(basis), basis),
        "weighted": (reductions.weighted(basis[:, 0]), basis[:, :1]),
        "one output": (outputs - 1, torch.eye(outputs, dtype=torch.float64)[:, -1:]),
        "scaled": (reductions.full(basis[:, 1]), torch.diag(basis[:, 1])),
    }
    for reduction, D in chosen.values():
        kernel = tl.entk(model, inputs, outputs=reduction, groups="all")["all"].dense()
        combined = (torch.einsum("icp,cr->irp", j, D) for j in oracles[case.name].values())
        assert relative_error(kernel, sum(reduced(j, "full") for j in combined)) < 1e-10
    weights = basis[:, 0].abs()
    kernel = tl.entk(model, inputs, outputs=reductions.trace(weights), groups="all")["all"].dense()
    scaled = (j * weights.sqrt()[None, :, None] * outputs**0.5 for j in oracles[case.name].values())
    assert relative_error(kernel, sum(reduced(j, "trace") for j in scaled)) < 1e-10


def test_the_model_is_left_as_it_was_found(case):
    model, inputs = build(case)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad, p.data_ptr()) for p in model.parameters()]
    random_state = torch.get_rng_state()
    for method in ("factored", "matrix_free", "dense"):
        tl.entk(model, inputs, method=method).total @ torch.ones(len(inputs))
    assert not model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [(p.requires_grad, p.grad, p.data_ptr()) for p in model.parameters()] == flags
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
