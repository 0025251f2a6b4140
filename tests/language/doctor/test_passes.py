"""Checks by forward passes, of models with a fault put in."""

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="the extra `language` is not installed")

import transformers

from tangentlens.language.doctor import Verdict, passes, weights
from tangentlens.language.doctor.subject import Subject, Task
from tangentlens.language.model import language_model
from tests.support import language_zoo as zoo
from tests.support.doctor_cases import diagnosed, failing, tiny
from tests.support.real_gemma import gemma, needs_gemma


def test_active_dropout_is_found_with_the_layer_and_nothing_is_built_on_it():
    found = diagnosed(tiny("gpt2").train())
    assert failing(found) == ["dropout", "determinism"]
    assert "transformer.drop" in found["dropout"].finding
    assert "transformer.drop" in found["determinism"].finding  # the first module whose result differs
    assert "not looked at" in found["adjointness"].finding


class Noisy(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        return nn.functional.dropout(self.inner(*args, **kwargs), 0.2, training=True)


def test_randomness_that_no_mode_shows_is_traced_to_its_module():
    model = tiny("llama")
    model.model.layers[1].mlp = Noisy(model.model.layers[1].mlp)
    found = diagnosed(model)
    assert failing(found) == ["determinism"]
    assert found["determinism"].finding.endswith("[model.layers.1.mlp]")


class LeaksPadding(nn.Module):
    """Adds the mean over all earlier positions, the masked ones too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor) -> Tensor:
        count = torch.arange(1, hidden_states.shape[1] + 1)[:, None]
        return self.inner(hidden_states + hidden_states.cumsum(1) / count)


def test_a_block_that_ignores_the_mask_leaks_padding_from_the_left_alone():
    model = tiny("llama")
    model.model.layers[0].mlp = LeaksPadding(model.model.layers[0].mlp)
    found = diagnosed(model)
    assert failing(found) == ["padding left"]
    assert "change it by" in found["padding left"].finding


def test_masked_rows_stay_finite_in_float64():
    """Plain attention rounds the lowest float64 number of a mask to -inf, and a row of them to NaN."""
    assert diagnosed(zoo.tiny("llama"))["padding left"].verdict is Verdict.FINE


class SeesLaterTokens(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.inner(hidden_states + hidden_states.mean(1, keepdim=True))


def test_a_model_that_sees_later_tokens_is_not_causal():
    model = tiny("qwen2")
    model.model.layers[0].mlp = SeesLaterTokens(model.model.layers[0].mlp)
    assert "causality" in failing(diagnosed(model))


def bert() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4}
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=37, max_position_embeddings=32, **sizes))


def test_an_encoder_will_not_work():
    found = diagnosed(bert().eval())
    assert failing(found) == ["causality"]
    assert found["causality"].remedy


def test_an_attention_that_stays_as_it_is_will_not_work(monkeypatch):
    model = tiny("llama")
    monkeypatch.setattr(model, "set_attn_implementation", lambda _name: None)
    found = diagnosed(model)
    assert failing(found) == ["attention"]
    assert "stays sdpa" in found["attention"].finding
    assert "not looked at" in found["stages"].finding


def test_an_attention_that_refuses_to_be_switched_will_not_work(monkeypatch):
    def refuse(_name: str) -> None:
        raise ValueError("only one attention here")

    model = tiny("llama")
    monkeypatch.setattr(model, "set_attn_implementation", refuse)
    assert "only one attention here" in diagnosed(model)["attention"].finding


def with_head(**options: float) -> nn.Module:
    config = transformers.Gemma2Config(**zoo._GROUPED, head_dim=4, **options)
    return transformers.Gemma2ForCausalLM(config).eval()


def test_soft_capping_is_read_and_measured():
    capped = diagnosed(with_head(final_logit_softcapping=0.5, attn_logit_softcapping=None))["head"]
    assert capped.verdict is Verdict.FINE
    assert "0.5 tanh(U r / 0.5)" in capped.finding

    class Rewritten(transformers.Gemma2ForCausalLM):  # the config keeps quiet about what the model does
        def forward(self, *args, **kwargs):
            returned = super().forward(*args, **kwargs)
            returned.logits = self.change(returned.logits)
            return returned

    model = with_head(final_logit_softcapping=None, attn_logit_softcapping=None)
    model.__class__ = Rewritten
    model.change = lambda z: 7 * torch.tanh(z / 3)
    assert "7 tanh((2.33333 U r) / 7)" in diagnosed(model)["head"].finding
    for change in (torch.relu, lambda z: z + 0.01, lambda z: z - z.mean(-1, keepdim=True), lambda z: z[..., :30]):
        model.change = change
        assert failing(diagnosed(model)) == ["chain"]


def test_scaled_logits_are_read():
    model = transformers.GraniteForCausalLM(transformers.GraniteConfig(**zoo._GROUPED, logits_scaling=4.0)).eval()
    head = diagnosed(model)["head"]
    assert head.verdict is Verdict.FINE
    assert "0.25 U r" in head.finding


@needs_gemma
def test_gemma_s_forward_passes_are_sound():
    model, _ = gemma()
    subject = Subject(language_model(model), Task(windows=8, length=8, directions=4), seed=0)
    looks = (passes.determinism, passes.causality, passes.attention, passes.padding_left, passes.padding_right)
    for look in (*looks, passes.head):
        assert look(subject).verdict is Verdict.FINE
    assert "model.embed_tokens.weight = lm_head.weight" in weights.ties(subject).finding
