"""Kernels of scalars of the logits against gradients by autograd, window by window, in float64."""

import itertools

import pytest
import torch
from torch import Tensor

import tangentlens as tl
from tangentlens.kernels.factored.factors import Axes, Factors
from tangentlens.language.sweep import scalar_kernels as kernels
from tangentlens.language.sweep.compressed import ViewFactors
from tangentlens.language.sweep.scalars import SCALARS, scalars_with_cotangents
from tests.support import language_zoo as zoo
from tests.support.language_families import tiny

CLOSE = 1e-6  # relative to the largest entry of a kernel
BUILT = {
    "llama": lambda: zoo.tiny("llama"),
    "gpt2": lambda: zoo.tiny("gpt2"),
    "gemma3": lambda: zoo.tiny("gemma3"),
    "gemma2, capped": lambda: tiny("gemma2"),
    "cohere, scaled": lambda: tiny("cohere"),
}


def scalar(name: str, z: Tensor) -> Tensor:
    """The scalar by its definition, of one window's logits."""
    p = torch.exp(z - z.max()) / torch.exp(z - z.max()).sum()
    return {
        "mean_logit": lambda: z.sum() / len(z),
        "log_sum_exp": lambda: z.max() + torch.log(torch.exp(z - z.max()).sum()),
        "entropy": lambda: -(p * torch.log(p)).sum(),
        "largest_logit": lambda: z[int(z.argmax())],
        "own_log_probability": lambda: torch.log(p[int(z.argmax())]),
    }[name]()


def oracle(model: torch.nn.Module, windows: list[Tensor], name: str, group: str) -> Tensor:
    """Gram matrix of the gradients, every window alone through the whole model."""
    parameter = dict(model.named_parameters())[group]
    rows = []
    for ids in windows:
        z = model(input_ids=ids[None], use_cache=False).logits[0, -1]
        rows.append(torch.autograd.grad(scalar(name, z), parameter)[0].flatten().double())
    J = torch.stack(rows)
    return J @ J.T


def assert_close(found: Tensor, exact: Tensor, limit: float = CLOSE) -> None:
    assert float((found - exact).abs().max()) <= limit * float(exact.abs().max())


@pytest.mark.parametrize("family", BUILT)
def test_kernels_of_every_scalar_and_weight_are_those_of_autograd(family):
    model = BUILT[family]()
    batch = {"input_ids": zoo.windows()["input_ids"] % 23}
    swept = tl.sweep(tl.language_model(model), batch, outputs=tuple(SCALARS))
    assert len(swept.groups) >= 8
    assert swept.check <= 1e-5  # norms of transformers round to float32 inside
    windows = list(batch["input_ids"])
    for name, group in itertools.product(SCALARS, swept.groups):
        assert_close(swept[name, group].dense(), oracle(model, windows, name, group))
    for name, values in zip(SCALARS, swept.values, strict=True):
        logits = [model(input_ids=ids[None], use_cache=False).logits[0, -1].detach() for ids in windows]
        expected = torch.stack([scalar(name, z) for z in logits])
        torch.testing.assert_close(values, expected.double(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    model, windows = zoo.tiny("llama"), [zoo.windows(4)["input_ids"][i][: 3 + i % 3] for i in range(4)]
    rows, masks = [], []
    for ids in windows:
        room = torch.zeros(6 - len(ids), dtype=torch.int64)
        order = (room, ids) if side == "left" else (ids, room)
        real = (room, torch.ones_like(ids)) if side == "left" else (torch.ones_like(ids), room)
        rows.append(torch.cat(order))
        masks.append(torch.cat(real))
    batch = {"input_ids": torch.stack(rows), "attention_mask": torch.stack(masks)}
    swept = tl.sweep(tl.language_model(model), batch, outputs="entropy")
    for group in swept.groups:
        assert_close(swept["entropy", group].dense(), oracle(model, windows, "entropy", group))


def test_modes_are_eigenpairs_of_the_formed_kernel_with_true_residuals():
    lm, batch = tl.language_model(zoo.tiny("qwen2")), zoo.windows(9)
    swept = tl.sweep(lm, batch, groups="down_proj", outputs=["log_sum_exp", "entropy"], modes=4)
    for name, group in itertools.product(swept.outputs, swept.groups):
        pairs, K = swept.modes[name][group], swept[name, group].dense()
        exact = torch.linalg.eigvalsh(K).flip(0)[:4]
        torch.testing.assert_close(pairs.values, exact)
        assert pairs.vectors.shape == (9, 4)
        residuals = (K @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0) / pairs.values
        assert float(residuals.max()) < 1e-9
        assert bool(pairs.converged.all())


def test_a_group_of_several_parameters_is_their_sum_and_the_head_s_own_use_is_left_out():
    model, batch = zoo.tiny("gemma3"), zoo.windows(4)
    lm = tl.language_model(model)
    one = tl.sweep(lm, batch, groups="parameter", outputs="mean_logit")
    every = tl.sweep(lm, batch, groups="all", outputs="mean_logit")
    total = sum(one["mean_logit", group].dense() for group in one.groups)
    assert_close(every["mean_logit", "all"].dense(), total)
    tied = next(name for name in one.groups if "embed_tokens" in name)
    assert model.get_output_embeddings().weight is dict(model.named_parameters())[tied]
    held = zoo.tiny("gemma3")
    held.lm_head.weight = torch.nn.Parameter(held.lm_head.weight.detach().clone())
    assert_close(one["mean_logit", tied].dense(), oracle(held, list(batch["input_ids"]), "mean_logit", tied))


def factors(positions: int, left: int, right: int) -> list[Factors]:
    """Two uses of one weight by four windows in two directions."""
    draw = torch.Generator().manual_seed(positions)
    made = []
    for _ in range(2):
        sides = (
            torch.randn(4, positions, 1, left, generator=draw),
            torch.randn(2, 4, positions, 1, right, generator=draw),
        )
        made.append(Factors(*(side.double() for side in sides), Axes((), (0,), (1,)), None, (left, right)))
    return made


@pytest.mark.parametrize(("positions", "left", "right"), [(1, 40, 30), (20, 3, 4)])
@pytest.mark.parametrize("workspace", [2**8, 2**30])
def test_both_routes_and_every_workspace_give_the_gram_matrix_of_the_gradients(positions, left, right, workspace):
    uses = factors(positions, left, right)
    assert kernels.takes_tokens(uses) == (positions == 1)
    found = kernels.scalar_kernels([ViewFactors(tuple(uses))], workspace)
    for s in range(2):
        rows = sum(torch.einsum("nta,ntb->nab", use.left[:, :, 0], use.right[s, :, :, 0]) for use in uses).flatten(1)
        torch.testing.assert_close(found[s], rows @ rows.T)


def test_a_wrong_kernel_is_noticed(monkeypatch):
    monkeypatch.setattr(
        "tangentlens.language.sweep.scalar_sweep.scalar_kernels",
        lambda views, _: [1.01 * found for found in kernels.scalar_kernels(views, 2**20)],
    )
    with pytest.raises(tl.NumericalError, match="differ from plain autograd"):
        tl.sweep(tl.language_model(zoo.tiny("llama")), zoo.windows(), outputs="entropy", groups="down_proj")


def test_a_wrong_scalar_is_noticed(monkeypatch):
    def half(*given):
        values, pulled = scalars_with_cotangents(*given)
        return values, pulled / 2

    monkeypatch.setattr("tangentlens.language.sweep.scalar_sweep.scalars_with_cotangents", half)
    with pytest.raises(tl.NumericalError, match="differs from that of the model's logits"):
        tl.sweep(tl.language_model(zoo.tiny("llama")), zoo.windows(), outputs="entropy", groups="down_proj")


@pytest.mark.parametrize("outputs", ["loss", (), ("entropy", "entropy")])
def test_names_that_cannot_be_used_are_refused(outputs):
    with pytest.raises(tl.InvalidInputError, match=r"outputs"):
        tl.sweep(tl.language_model(zoo.tiny("llama")), zoo.windows(), outputs=outputs)


def test_a_folder_and_a_recorder_are_refused(tmp_path):
    lm = tl.language_model(zoo.tiny("llama"))
    for options in ({"work": tmp_path}, {"record": lambda *_: {}}):
        with pytest.raises(tl.InvalidInputError, match="work="):
            tl.sweep(lm, zoo.windows(), outputs="entropy", modes=2, **options)


def test_a_group_without_gradients_is_named():
    model = zoo.tiny("gpt2")
    with torch.no_grad():  # a norm scale of zero: the hidden state is a constant
        model.transformer.ln_f.weight.zero_()
    with pytest.raises(tl.NumericalError, match="vanish"):
        tl.sweep(tl.language_model(model), zoo.windows(), outputs="entropy", groups="down_proj")
