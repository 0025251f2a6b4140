"""What a sweep refuses, what it neutralises, and that a wrong kernel does not leave it."""

import copy
import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import tangentlens as tl
from tangentlens.errors import InvalidInputError, NumericalError, UnsupportedModelError
from tangentlens.kernels.groups import Group
from tangentlens.language.geometry import Roots
from tangentlens.language.model import language_model
from tangentlens.language.sweep import backward as backward_sweep
from tangentlens.language.sweep import check as sweep_check
from tangentlens.language.sweep import fisher
from tangentlens.language.sweep.sweep import Sweep
from tests.support import language_zoo as zoo

DOWN = "model.layers.1.mlp.down_proj.weight"
SOME = {"groups": ["*.mlp.down_proj.weight", "*.q_proj.weight"], "directions": 5, "geometry": "fisher"}


@pytest.fixture
def llama() -> nn.Module:
    return zoo.tiny("llama")


def kernels(swept: Sweep) -> Tensor:
    return torch.stack([swept[group].dense().double() for group in swept.groups])


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    return float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


class SeesLaterTokens(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.inner(hidden_states + hidden_states.mean(1, keepdim=True))


def test_a_model_that_sees_later_tokens_is_refused_by_sweep_and_refine(llama):
    lm, batch = language_model(llama), zoo.windows()
    swept = tl.sweep(lm, batch, modes=2, **SOME)
    llama.model.layers[0].mlp = SeesLaterTokens(llama.model.layers[0].mlp)
    lm = language_model(llama)
    for call in (lambda: tl.sweep(lm, batch), lambda: tl.refine(lm, batch, DOWN, swept)):
        with pytest.raises(UnsupportedModelError, match="no causal language model"):
            call()


class Carried(nn.Module):
    """A block that adds what another block stored beside the hidden state."""

    def __init__(self, inner: nn.Module, store: dict[str, Tensor], writes: bool) -> None:
        super().__init__()
        self.inner, self.store, self.writes = inner, store, writes

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.writes:
            self.store["x"] = hidden_states
            return self.inner(hidden_states)
        return self.inner(hidden_states) + self.store["x"][: len(hidden_states)].roll(1, dims=2)


def test_what_blocks_hand_on_beside_the_hidden_state_is_seen(llama):
    """The first block leaves a tensor for the second: run alone, block by block, its gradient would be missing."""
    store: dict[str, Tensor] = {}
    for place, layer in enumerate(llama.model.layers):
        layer.mlp = Carried(layer.mlp, store, place == 0)
    with pytest.raises((UnsupportedModelError, NumericalError, InvalidInputError)):
        tl.sweep(language_model(llama), zoo.windows(), **SOME)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_type_ids": torch.zeros(5, 6, dtype=torch.int64)}, "token_type_ids"),
        ({"input_ids": torch.full((5, 6), 37)}, "beyond the 37 tokens"),
        ({"input_ids": torch.full((5, 6), -1)}, "hold -1"),
        ({"input_ids": torch.zeros(5, 6)}, "not integers"),
        ({"input_ids": torch.zeros(5, 33, dtype=torch.int64)}, "longer than the 32 positions"),
        ({"attention_mask": torch.full((5, 6), 2)}, "other than 0 and 1"),
        ({"position_ids": torch.full((5, 6), 32)}, "beyond the 32 positions"),
        ({"position_ids": torch.zeros(5, 5, dtype=torch.int64)}, "position_ids have shape"),
    ],
)
def test_a_batch_that_cannot_be_used_is_refused_by_name(llama, change, message):
    with pytest.raises(InvalidInputError, match=message):
        tl.sweep(language_model(llama), {**zoo.windows(), **change}, **SOME)


def test_positions_are_used(llama):
    lm, batch = language_model(llama), zoo.windows()
    counted = torch.arange(6).expand(5, -1)
    expected = kernels(tl.sweep(lm, batch, **SOME))
    assert same(kernels(tl.sweep(lm, {**batch, "position_ids": counted}, **SOME)), expected, 1e-6)
    stretched = {**batch, "position_ids": counted * counted}
    found = tl.sweep(lm, stretched, **SOME)  # its own check compares with autograd at these positions
    assert found.check < 1e-5
    assert not same(kernels(found), expected, 1e-2)


def test_positions_are_refused_where_the_model_takes_none():
    lm = language_model(zoo.tiny("bloom"))
    batch = {**zoo.windows(), "position_ids": torch.arange(6).expand(5, -1)}
    with pytest.raises(InvalidInputError, match="takes no position_ids"):
        tl.sweep(lm, batch)


def test_groups_that_no_output_depends_on_are_refused_by_name(llama):
    lm, batch = language_model(llama), zoo.windows()
    with pytest.raises(InvalidInputError, match=r"lm_head.*not on the way"):
        tl.sweep(lm, batch, groups=["lm_head.weight"])
    llama.model.idle = nn.Linear(3, 3)
    with pytest.raises(InvalidInputError, match=r"on the way to the final hidden state \[b\]"):
        tl.sweep(language_model(llama), batch, groups={"a": ["*down_proj*"], "b": ["*idle*"]})
    llama.requires_grad_(False)
    with pytest.raises(InvalidInputError, match="trainable"):
        tl.sweep(lm, batch)
    llama.model.layers[1].mlp.down_proj.requires_grad_(True)
    assert tl.sweep(lm, batch, directions=3).groups == (DOWN,)
    with pytest.raises(InvalidInputError, match="frozen"):
        tl.sweep(lm, batch, groups=["*.q_proj.weight"])


def test_vanishing_gradients_are_named(llama):
    with torch.no_grad():
        llama.model.layers[1].mlp.up_proj.weight.zero_()
    lm = language_model(llama)
    assert float(tl.sweep(lm, zoo.windows(), groups=[DOWN], directions=4, geometry="fisher")[DOWN].dense().norm()) == 0
    with pytest.raises(NumericalError, match=DOWN):
        tl.sweep(lm, zoo.windows(), groups=[DOWN], directions=4, modes=2, geometry="fisher")


@pytest.mark.parametrize(("count", "length"), [(4, 1), (1, 1), (1, 6), (2, 2)])
def test_few_windows_and_one_token_are_right(llama, count, length):
    lm, batch = language_model(llama), zoo.windows(count, length)
    swept = tl.sweep(lm, batch, groups=[DOWN, "model.embed_tokens.weight"], directions=lm.d_model, geometry="raw")
    factor = swept.geometry.factors(torch.zeros(1, lm.d_model))[0]
    for group in swept.groups:
        rows = zoo.jacobian(llama, batch, group, torch.full((count,), length - 1))
        J = torch.einsum("ncp,cd->ndp", rows, factor).flatten(0, 1)
        assert same(swept[group].dense(), J @ J.T, 2e-5)


def test_windows_and_patterns_that_occur_twice(llama):
    lm, batch = language_model(llama), zoo.windows(3)
    twice = {"input_ids": batch["input_ids"][[0, 1, 2, 1]]}
    once = tl.sweep(lm, batch, groups=[DOWN], directions=4, geometry="fisher")[DOWN].dense().unflatten(0, (3, 4))
    again = tl.sweep(lm, twice, groups=[DOWN, DOWN], directions=4, geometry="fisher")
    assert again.groups == (DOWN,)
    blocks = again[DOWN].dense().unflatten(0, (4, 4)).unflatten(2, (4, 4))
    assert same(blocks[:3, :, :3], once.unflatten(2, (3, 4)), 1e-5)
    assert same(blocks[3, :, 3], blocks[1, :, 1], 1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_swept_in_float32_on_a_copy(dtype, caplog):
    model = zoo.tiny("gpt2").to(dtype)
    exact = copy.deepcopy(model).float()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with caplog.at_level(logging.WARNING):
        found = tl.sweep(language_model(model), zoo.windows(), groups="down_proj", directions=4, geometry="fisher")
    assert "computed in float32" in caplog.text
    expected = tl.sweep(language_model(exact), zoo.windows(), groups="down_proj", directions=4, geometry="fisher")
    assert kernels(found).dtype == kernels(expected).dtype
    assert same(kernels(found), kernels(expected), 1e-5)
    assert all(p.dtype == dtype and torch.equal(p, before[name]) for name, p in model.named_parameters())


AROUND = {
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_is_active_around_the_call_changes_nothing(around):
    model, batch = zoo.tiny("llama").float(), zoo.windows()
    expected = tl.sweep(language_model(model), batch, modes=2, **SOME)
    refined = tl.refine(language_model(model), batch, DOWN, expected)
    with around():
        lm = language_model(model)
        found = tl.sweep(lm, batch, modes=2, **SOME)
        again = tl.refine(lm, batch, DOWN, found)
    for group in expected.groups:
        assert torch.allclose(found.modes[group].pairs.values, expected.modes[group].pairs.values, rtol=1e-5)
    assert torch.allclose(again.pairs.values, refined.pairs.values, rtol=1e-5)
    with around():
        product = again.operator @ again.pairs.vectors.float()
    assert same(product, refined.operator @ again.pairs.vectors.float(), 1e-5)


def test_a_model_and_a_batch_made_in_inference_mode():
    with torch.inference_mode():
        model, batch = zoo.tiny("llama"), zoo.windows()
    expected = tl.sweep(language_model(zoo.tiny("llama")), zoo.windows(), **SOME)
    assert same(kernels(tl.sweep(language_model(model), batch, **SOME)), kernels(expected))


def test_float64_and_padding_on_the_left_give_no_nan(llama):
    lm, batch = language_model(llama), zoo.windows(4, 5)
    ids, room = batch["input_ids"], torch.zeros(4, 3, dtype=torch.int64)
    padded = {
        "input_ids": torch.cat([room, ids], 1),
        "attention_mask": torch.cat([room, torch.ones_like(ids)], 1),
    }
    assert same(kernels(tl.sweep(lm, padded, **SOME)), kernels(tl.sweep(lm, batch, **SOME)), 1e-5)


def test_parameters_that_change_during_the_call_are_seen(llama):
    def train(*_: object) -> None:
        with torch.no_grad():
            llama.model.layers[0].mlp.up_proj.weight.mul_(1.001)

    with pytest.raises(NumericalError, match=r"changed during the call|differ from plain autograd"):
        tl.sweep(language_model(llama), zoo.windows(), progress=train, **SOME)


def test_a_tokenizer_given_for_a_folder_is_used(llama, tmp_path):
    llama.save_pretrained(tmp_path)  # and no tokenizer
    mine = object()
    assert language_model(tmp_path, tokenizer=mine).tokenizer is mine


def test_wrappers_of_a_model_are_refused_with_what_to_give(llama):
    for wrapped, remedy in ((torch.compile(llama), "model._orig_mod"), (nn.DataParallel(llama), "model.module")):
        with pytest.raises(UnsupportedModelError, match=remedy):
            language_model(wrapped)


def test_the_check_is_small_and_can_be_left_out(llama):
    lm, batch = language_model(llama), zoo.windows()
    for geometry in ("raw", "centred", "fisher"):
        options = {**SOME, "geometry": geometry}
        assert 0 < tl.sweep(lm, batch, **options).check < 1e-6
        assert tl.sweep(lm, batch, check=False, **options).check is None


def test_a_resumed_sweep_remembers_its_check(llama, tmp_path):
    lm, batch = language_model(llama), zoo.windows()
    first = tl.sweep(lm, batch, modes=2, work=tmp_path, **SOME)
    again = tl.sweep(lm, batch, modes=2, work=tmp_path, **SOME)
    assert first.check == again.check > 0
    assert torch.equal(first.left_out, again.left_out)


FAULTS = {
    "windows mixed up": lambda part: (part.left, part.right.roll(1, 1)),
    "positions mixed up": lambda part: (part.left.roll(1, 1), part.right),
    "a scale": lambda part: (part.left, 1.01 * part.right),
    "half of a head's axes": lambda part: (part.left, part.right * (torch.arange(part.right.shape[-1]) % 2)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("options", [{}, {"modes": 2}])
def test_a_fault_in_the_factors_is_caught_with_the_groups_name(llama, monkeypatch, fault, options):
    whole = backward_sweep._factors

    def wrong(planned, recording, index, gradients, n):
        found = whole(planned, recording, index, gradients, n)
        if planned.index != 2 or recording.uses[index].use.value.shape != (16, 20):
            return found
        left, right = fault(found)
        return replace(found, left=left, right=right)

    monkeypatch.setattr(backward_sweep, "_factors", wrong)
    lm = language_model(llama)
    with pytest.raises(NumericalError, match=rf"differ from plain autograd by up to .* \[{DOWN}\]"):
        tl.sweep(lm, zoo.windows(12), groups="weights", directions=5, geometry="fisher", **options)
    assert tl.sweep(lm, zoo.windows(12), directions=5, geometry="fisher", check=False).check is None


def test_a_fault_in_the_geometry_is_caught(llama, monkeypatch):
    whole = fisher.FisherGeometry.roots

    def wrong(self, hidden, directions=0):
        found = whole(self, hidden, directions)
        return Roots(1.01 * found.factors, found.own, found.left_out)

    monkeypatch.setattr(fisher.FisherGeometry, "roots", wrong)
    with pytest.raises(NumericalError, match="fisher geometry differs"):
        tl.sweep(language_model(llama), zoo.windows(), **SOME)


def test_every_kind_of_group_is_sampled_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(sweep_check, "_NUMBERS", 3 * 4 * 16 * 20)
    names = [f"layers.{i}.{kind}" for i in range(10) for kind in ("up", "down", "gate")]
    chosen = sweep_check._sampled([Group(n, (n,)) for n in names], dict.fromkeys(names, 320), 0)
    assert len(chosen) == 4
    assert {group.name.rpartition(".")[2] for group in chosen[:3]} == {"up", "down", "gate"}
