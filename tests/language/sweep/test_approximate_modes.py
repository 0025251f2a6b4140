"""Approximate modes: their parameter directions, and the memory of the factors that they are found from."""

import gc

import pytest
import torch

from tangentlens.kernels.factored.factors import Factors
from tangentlens.language.model import language_model
from tangentlens.language.sweep import backward, compressed
from tangentlens.language.sweep.approximate_modes import ApproximateModes, approximate_modes
from tangentlens.language.sweep.compressed import CompressedKernel
from tangentlens.language.sweep.sweep import sweep
from tangentlens.language.sweep.token_shares import token_shares
from tests.support import language_zoo as zoo

OPTIONS = {"geometry": "raw", "directions": 6, "modes": 4, "probes": 2, "pilot_windows": 4}


def test_the_factors_of_one_block_are_gone_before_those_of_the_next_are_made(monkeypatch):
    lm, batch, alive = language_model(zoo.tiny("llama")), zoo.windows(5), []
    chunk = backward._chunk

    def counted(*args):
        gc.collect()
        alive.append(sum(type(each) is Factors for each in gc.get_objects()))
        return chunk(*args)

    with_pilot = sweep(lm, batch, **OPTIONS)
    monkeypatch.setattr(backward, "_chunk", counted)
    sweep(lm, batch, **{**OPTIONS, "directions": with_pilot.basis})
    assert alive == [0] * (1 + len(lm.blocks))  # the last norm, and the blocks


def test_the_factors_of_a_weight_are_gone_when_its_modes_are_found():
    lm, alive = language_model(zoo.tiny("llama")), []

    def count(_kernel: CompressedKernel, _modes: ApproximateModes, _basis: torch.Tensor) -> dict[str, torch.Tensor]:
        gc.collect()
        alive.append(sum(type(each) is Factors for each in gc.get_objects()))
        return {}

    swept = sweep(lm, zoo.windows(5), record=count, **OPTIONS)
    weights = len(swept.groups) // len(lm.blocks)
    assert alive == list(range(weights, 0, -1)) * len(lm.blocks)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-9])
def test_the_moves_of_modes_are_those_of_their_vectors_or_are_left_out(tolerance, monkeypatch):
    lm, batch = language_model(zoo.tiny("llama")), zoo.windows(40)
    swept = sweep(lm, batch, groups=["model.layers.0.mlp.down_proj.weight"], directions=6, geometry="raw")
    kernel = swept["model.layers.0.mlp.down_proj.weight"]
    assert isinstance(kernel, CompressedKernel)
    found = approximate_modes(kernel, 4, tolerance, lm.d_model)
    expected = kernel.gradients(found.pairs.vectors)
    assert len(found.moves) == len(kernel.views)
    for moves, gradients in zip(found.moves, expected, strict=True):
        assert torch.allclose(moves, gradients, rtol=0, atol=1e-5 * float(gradients.abs().max()))
    some = (kernel, found.pairs.vectors, torch.ones(6, 4, dtype=torch.float64), torch.arange(4)[:, None], 6)
    known, formed = token_shares(*some, moves=found.moves), token_shares(*some)
    assert torch.allclose(known, formed, rtol=0, atol=1e-5 * float(formed.abs().max()))
    monkeypatch.setattr(compressed, "_WORKSPACE", 1)  # one column at a time
    narrow = approximate_modes(kernel, 4, tolerance, lm.d_model)
    assert narrow.moves == ()
    assert torch.allclose(narrow.pairs.values, found.pairs.values, rtol=1e-5)
