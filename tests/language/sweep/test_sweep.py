"""The sweep against a plain loop of backward passes, on tiny random models of every family."""

import pytest
import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.language.batches import last_positions
from tangentlens.language.model import language_model
from tangentlens.language.sweep.fisher import logit_geometry
from tangentlens.language.sweep.new_text import score_new_windows
from tangentlens.language.sweep.refinement import refine
from tangentlens.language.sweep.sweep import sweep
from tests.support import language_zoo as zoo

# RMSNorm of transformers rounds to float32 inside, also in float64 models
CLOSE = {"rtol": 2e-5, "atol": 1e-9}


def root(S: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(S)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def oracle(model: torch.nn.Module, batch: dict[str, Tensor], name: str, factor: Tensor) -> Tensor:
    """S^(1/2) K_r S^(1/2) with rows (window, coordinate)."""
    J = zoo.jacobian(model, batch, name, last_positions(batch))
    J = torch.einsum("ncp,cd->ndp", J, factor).flatten(0, 1).detach()
    return J @ J.T


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_all_directions_give_the_dense_kernel_of_every_weight(family):
    model, batch = zoo.tiny(family), zoo.windows()
    lm = language_model(model)
    swept = sweep(lm, batch, directions=lm.d_model, geometry="raw")
    factor = root(lm.unembedding.T @ lm.unembedding)
    assert len(swept.groups) >= 8
    for group in swept.groups:
        exact = oracle(model, batch, group, factor)
        assert torch.allclose(swept[group].dense(), exact, rtol=0, atol=2e-5 * float(exact.abs().max())), group


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_groups_of_a_module_and_of_everything_are_sums(family):
    model, batch = zoo.tiny(family), zoo.windows(3)
    lm = language_model(model)
    d = lm.d_model
    one = sweep(lm, batch, groups="parameter", directions=d)
    every = sweep(lm, batch, groups="all", directions=d)["all"].dense()
    total = sum(one[group].dense() for group in one.groups)
    assert torch.allclose(every, total, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(family, side):
    model, batch = zoo.tiny(family).float(), zoo.windows(4, 5)  # eager attention rounds a float64 mask to -inf
    ids = batch["input_ids"]
    room = torch.zeros(len(ids), 3, dtype=ids.dtype)
    real = torch.ones_like(ids)
    ordered = (lambda a, b: [a, b]) if side == "left" else (lambda a, b: [b, a])
    padded = {"input_ids": torch.cat(ordered(room, ids), 1), "attention_mask": torch.cat(ordered(room, real), 1)}
    lm = language_model(model)
    bare = sweep(lm, batch, directions=lm.d_model)
    with_padding = sweep(lm, padded, directions=lm.d_model)
    for group in bare.groups:
        expected = bare[group].dense()
        assert torch.allclose(with_padding[group].dense(), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_windows_of_different_lengths_in_one_batch():
    model = zoo.tiny("llama").float()
    lm = language_model(model)
    ids = zoo.windows(3, 6)["input_ids"]
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6, [0, 1, 1, 1, 1, 1]])
    swept = sweep(lm, {"input_ids": ids, "attention_mask": mask}, directions=lm.d_model, geometry="raw")
    factor = root(lm.unembedding.T @ lm.unembedding)
    name = "model.layers.0.self_attn.k_proj.weight"
    alone = [{"input_ids": ids[i : i + 1, mask[i] > 0]} for i in range(3)]
    rows = torch.cat([zoo.jacobian(model, window, name, torch.tensor([-1])) for window in alone])
    J = torch.einsum("ncp,cd->ndp", rows, factor).flatten(0, 1).detach()
    assert torch.allclose(swept[name].dense(), J @ J.T, rtol=0, atol=2e-5 * float((J @ J.T).abs().max()))


def test_fewer_directions_give_the_kernel_restricted_to_the_basis():
    model, batch = zoo.tiny("gemma3"), zoo.windows()
    lm = language_model(model)
    swept = sweep(lm, batch, directions=4, geometry="raw", groups="down_proj")
    name = swept.groups[0]
    exact = oracle(model, batch, name, root(lm.unembedding.T @ lm.unembedding))
    Q = torch.kron(torch.eye(5, dtype=torch.float64), swept.basis)  # (N d, N r)
    assert torch.allclose(swept[name].dense(), Q.T @ exact @ Q, rtol=0, atol=2e-5 * float(exact.abs().max()))
    assert torch.allclose(swept.lift(torch.eye(20, dtype=torch.float64)).flatten(0, 1), Q, **CLOSE)


def test_in_fisher_geometry_every_window_has_its_own_directions():
    model, batch = zoo.tiny("qwen2"), zoo.windows(5)
    lm = language_model(model)
    name = "model.layers.0.mlp.down_proj.weight"
    J = zoo.jacobian(model, batch, name, last_positions(batch))  # (N, d, parameters)
    units, hidden = logit_geometry(lm.head, "fisher"), lm.final_hidden(batch).detach()
    factors = units.factors(hidden[torch.arange(5), -1])
    rows = torch.einsum("ncp,ncd->ndp", J, factors).flatten(0, 1).detach()
    exact = rows @ rows.T
    swept = sweep(lm, batch, directions=4, geometry="fisher", groups=[name], modes=3)
    assert swept.basis.shape == (5, lm.d_model, 4)
    Q = torch.block_diag(*swept.basis)  # (N d, N r)
    kernel = sweep(lm, batch, directions=4, geometry="fisher", groups=[name])[name]
    assert torch.allclose(kernel.dense(), Q.T @ exact @ Q, rtol=0, atol=2e-5 * float(exact.abs().max()))
    lifted = swept.lift(swept.modes[name].pairs.vectors).flatten(0, 1)
    assert torch.allclose(lifted, Q @ swept.modes[name].pairs.vectors, **CLOSE)
    held = torch.linalg.eigvalsh(factors @ factors)[:, -4:].sum(1)
    assert torch.allclose((factors @ swept.basis).square().sum((1, 2)), held)  # no four directions hold more of S


@pytest.mark.parametrize("geometry", ["raw", "centred", "fisher"])
def test_the_estimated_residual_is_the_true_one_on_average(geometry):
    model, batch = zoo.tiny("qwen2"), zoo.windows(24)
    lm = language_model(model)
    name = "model.layers.0.mlp.down_proj.weight"
    estimates = []
    for seed in range(4):  # the basis is the pilot's, and the pilot's seed stays: only the probes differ
        swept = sweep(lm, batch, groups=[name], directions=6, geometry=geometry, modes=3, probes=4, seed=seed)
        modes = swept.modes[name]
        lifted = swept.lift(modes.pairs.vectors).flatten(0, 1)
        full = refine(lm, batch, name, swept, steps=0)
        product = full.operator @ lifted
        true = (product - lifted * modes.pairs.values).norm(dim=0) / modes.pairs.values
        estimates.append(modes.residuals / true)
    ratio = torch.stack(estimates).mean(0)
    assert bool(((ratio > 0.8) & (ratio < 1.25)).all()), ratio


def test_refinement_reaches_the_modes_of_the_dense_oracle():
    model, batch = zoo.tiny("gpt2"), zoo.windows(8)
    lm = language_model(model)
    name = "transformer.h.0.mlp.c_proj.weight"
    swept = sweep(lm, batch, groups=[name], directions=5, geometry="raw", modes=4)
    refined = refine(lm, batch, name, swept, steps=None, tolerance=1e-8)
    exact = oracle(model, batch, name, root(lm.unembedding.T @ lm.unembedding))
    values, vectors = torch.linalg.eigh(exact)
    assert torch.allclose(refined.pairs.values, values.flip(0)[:4], rtol=1e-5)
    cosines = torch.linalg.svdvals(refined.pairs.vectors.T @ vectors[:, -4:])
    assert float(cosines.min()) > 1 - 1e-6
    assert bool(refined.pairs.converged.all())


def test_centred_geometry_ignores_a_constant_row_and_raw_does_not():
    model, batch = zoo.tiny("gpt_neox"), zoo.windows()
    lm = language_model(model)
    name = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"

    def kernels(geometry: str) -> Tensor:
        return sweep(lm, batch, groups=[name], directions=lm.d_model, geometry=geometry)[name].dense()

    before = {geometry: kernels(geometry) for geometry in ("raw", "centred", "fisher")}
    with torch.no_grad():
        model.get_output_embeddings().weight += torch.linspace(-1, 1, lm.d_model, dtype=torch.float64)
    assert torch.allclose(
        kernels("centred"), before["centred"], rtol=0, atol=1e-6 * float(before["centred"].abs().max())
    )
    assert torch.allclose(kernels("fisher"), before["fisher"], rtol=0, atol=1e-6 * float(before["fisher"].abs().max()))
    assert not torch.allclose(kernels("raw"), before["raw"], rtol=1e-3)


def test_the_model_is_left_as_it_was_found():
    model, batch = zoo.tiny("gemma3"), zoo.windows()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attention = model.config._attn_implementation
    sweep(language_model(model), batch, groups="down_proj", directions=4, modes=2)
    assert model.config._attn_implementation == attention
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failure_on_the_way_leaves_no_hook_and_the_users_attention():
    model = zoo.tiny("llama")
    lm = language_model(model)
    attention = model.config._attn_implementation
    with pytest.raises(InvalidInputError, match="no real token"):
        sweep(lm, {**zoo.windows(2, 3), "attention_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])})
    model.train()
    model.model.layers[0].register_module("drop", torch.nn.Dropout(0.5))
    with pytest.raises(UnsupportedModelError, match="drops units"):
        sweep(lm, zoo.windows(), directions=4)
    assert model.config._attn_implementation == attention
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_asked_is_refused():
    lm = language_model(zoo.tiny("gpt2"))
    batch = zoo.windows(3)
    with pytest.raises(InvalidInputError, match="no logit geometry"):
        sweep(lm, batch, geometry="rwa", directions=4)
    with pytest.raises(InvalidInputError, match="directions = 0"):
        sweep(lm, batch, directions=0)
    with pytest.raises(InvalidInputError, match="matches no trainable parameter"):
        sweep(lm, batch, groups=["*.mlp.down.weight"], directions=4)
    with pytest.raises(InvalidInputError, match="input_ids"):
        sweep(lm, {"ids": batch["input_ids"]}, directions=4)
    swept = sweep(lm, batch, groups="down_proj", directions=4, modes=2)
    with pytest.raises(InvalidInputError, match="were freed"):
        swept[swept.groups[0]]
    with pytest.raises(InvalidInputError, match="no group"):
        swept["nothing"]


def test_the_same_seed_gives_the_same_modes():
    lm = language_model(zoo.tiny("qwen3"))
    runs = [sweep(lm, zoo.windows(), groups="down_proj", directions=4, modes=3, seed=5) for _ in range(2)]
    for group in runs[0].groups:
        assert torch.equal(runs[0].modes[group].pairs.values, runs[1].modes[group].pairs.values)


def test_top_eigenpairs_takes_a_swept_kernel():
    lm = language_model(zoo.tiny("gemma3"))
    swept = sweep(lm, zoo.windows(8), groups="down_proj", directions=6)
    kernel = swept[swept.groups[0]]
    pairs = tl.top_eigenpairs(kernel, k=3, tol=1e-5)
    assert bool(pairs.converged.all())
    assert torch.allclose(pairs.values, torch.linalg.eigvalsh(kernel.dense()).flip(0)[:3].double(), rtol=1e-6)


def test_new_windows_are_scored_by_the_crossed_kernel():
    model, batch, new = zoo.tiny("gpt2"), zoo.windows(8), zoo.windows(5, 4, seed=9)
    lm = language_model(model)
    name = "transformer.h.1.mlp.c_proj.weight"
    swept = sweep(lm, batch, groups=[name], directions=lm.d_model, geometry="raw", modes=3, tolerance=1e-8)
    modes = swept.modes[name].pairs
    factor = root(lm.unembedding.T @ lm.unembedding)

    def rows(windows: dict[str, Tensor]) -> Tensor:
        J = zoo.jacobian(model, windows, name, last_positions(windows))
        return torch.einsum("ncp,cd->ndp", J, factor).flatten(0, 1).detach()

    expected = rows(new) @ (rows(batch).T @ swept.lift(modes.vectors).flatten(0, 1)) / modes.values
    found = torch.cat(list(score_new_windows(lm, batch, swept, name, new, chunk=2)))
    assert torch.allclose(found.flatten(0, 1), expected, rtol=1e-6, atol=1e-8)
    again = torch.cat(list(score_new_windows(lm, batch, swept, name, batch)))
    assert torch.allclose(again, swept.lift(modes.vectors), rtol=1e-5, atol=1e-7)
