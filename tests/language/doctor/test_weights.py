"""Checks of tied weights, and of weights with and without factors."""

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="the extra `language` is not installed")


from tangentlens.language.doctor import Verdict
from tests.support.doctor_cases import diagnosed, failing, tiny


def test_tied_weights_are_named():
    tied = diagnosed(tiny("gpt2"))["tied weights"]
    assert tied.verdict is Verdict.NOTE
    assert "transformer.wte.weight = lm_head.weight" in tied.finding
    assert "head's own use is left out" in tied.finding
    assert diagnosed(tiny("llama"))["tied weights"].verdict is Verdict.FINE


class ThroughTanh(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.tanh(self.weight).T


def test_a_weight_without_factors_is_named_with_the_reason():
    model = tiny("llama")
    model.model.layers[1].mlp.up_proj = ThroughTanh(16, 20, bias=False)
    found = diagnosed(model)
    assert failing(found) == ["factors of weights"]
    assert "model.layers.1.mlp.up_proj.weight (used through a map" in found["factors of weights"].finding
    assert found["factors of weights"].number == 13
    assert found["factors of down_proj"].verdict is Verdict.FINE
    assert found["adjointness"].verdict is Verdict.FINE


def test_a_preset_that_knows_no_name_of_the_model_is_a_note():
    model = tiny("llama")
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.requires_grad_(False)
    found = diagnosed(model)
    assert failing(found) == []
    assert found["factors of down_proj"].verdict is Verdict.NOTE
    assert found["factors of weights"].number == 12
