"""Shares of tokens against the scores that they add up to."""

import pytest
import torch

from tangentlens.language.model import language_model
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.sweep import sweep
from tangentlens.language.sweep.token_shares import token_shares
from tests.support import language_zoo as zoo


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",  # one-hot, tied to the head
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.input_layernorm.weight",  # a scale: its axis is shared by both factors
        "model.layers.1.mlp.down_proj.weight",  # gradients at the last position alone: the others are left out
    ],
)
def test_shares_of_tokens_add_up_to_the_score_and_are_those_of_the_positions(name):
    lm, batch = language_model(zoo.tiny("gemma3")), zoo.windows(7)
    swept = sweep(lm, batch, groups=[name], directions=5, geometry="raw", probes=2)
    kernel = swept[name]
    assert isinstance(kernel, CompressedKernel)
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(kernel.shape[0], 3, generator=generator, dtype=torch.float64)
    directions = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    windows = torch.tensor([[0, 6], [3, 2], [1, 1]])
    shares = token_shares(kernel, vectors, directions, windows, 6)
    scores = torch.einsum("nrk,rk->kn", (kernel @ vectors).double().unflatten(0, (7, 5)), directions)
    rounding = 1e-10 if kernel.dtype == torch.float64 else 1e-5  # RMSNorm of transformers rounds to float32
    assert torch.allclose(shares.sum(2), scores.gather(1, windows), rtol=0, atol=rounding * float(scores.abs().max()))
    for view in kernel.views:
        for use in view.uses:
            if use.positions is not None:
                seen = torch.zeros(7, 6).scatter_(1, use.positions, 1.0)[windows]
                assert bool((shares[seen == 0].abs() <= 1e-12 * shares.abs().max()).all())
                assert use.positions.shape[1] < 6
    own = torch.randn(7, 5, 3, generator=generator, dtype=torch.float64)  # not the same at all windows
    scores = torch.einsum("nrk,nrk->kn", (kernel @ vectors).double().unflatten(0, (7, 5)), own)
    found = token_shares(kernel, vectors, own, windows, 6).sum(2)
    assert torch.allclose(found, scores.gather(1, windows), rtol=0, atol=rounding * float(scores.abs().max()))
    if "layers.1.mlp" in name:
        assert torch.equal(shares[:, :, :-1], torch.zeros_like(shares[:, :, :-1]))


def test_a_token_that_no_position_after_it_sees_has_no_share():
    """Windows that end early by padding on the right: what follows the last real token cannot matter."""
    lm, batch = language_model(zoo.tiny("llama").float()), zoo.windows(4)
    mask = torch.ones_like(batch["input_ids"])
    mask[:, 4:] = 0
    name = "model.layers.0.mlp.down_proj.weight"
    swept = sweep(lm, {**batch, "attention_mask": mask}, groups=[name], directions=4, geometry="raw", probes=0)
    kernel = swept[name]
    assert isinstance(kernel, CompressedKernel)
    ones = torch.ones(kernel.shape[0], 1, dtype=torch.float64)
    shares = token_shares(kernel, ones, torch.ones(4, 1, dtype=torch.float64), torch.arange(4)[None], 6)
    assert float(shares[:, :, 4:].abs().max()) == 0
    assert float(shares[:, :, 3].abs().min()) > 0
