"""What the doctor says of sound models of several families, and of models with a fault put in."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="the extra `language` is not installed")

import transformers
from hypothesis import given
from hypothesis import strategies as st

from tangentlens.cli import app
from tangentlens.errors import InvalidInputError
from tangentlens.language.doctor import Examination, Verdict, cost, examine, passes, weights
from tangentlens.language.doctor.subject import Subject, Task
from tangentlens.language.model import language_model
from tests.support import language_zoo as zoo
from tests.support.language_cases import byte_level_tokenizer
from tests.support.real_gemma import gemma, needs_gemma


def tiny(family: str) -> nn.Module:
    return zoo.tiny(family).float()


def diagnosed(model: nn.Module, **options: int) -> Examination:
    return examine(model, **{"length": 8, "windows": 6, "directions": 4, **options})


def failing(found: Examination) -> list[str]:
    return [check.name for check in found.failing]


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_a_sound_model_of_every_family_will_work(family):
    found = diagnosed(tiny(family))
    assert failing(found) == []
    assert not any("not looked at" in check.finding for check in found.checks)
    assert found["adjointness"].number < 1e-4
    assert found["padding left"].number < 1e-5
    assert found["factors of weights"].number >= 8
    assert found["factors of down_proj"].number == 2


def test_the_model_and_the_generators_are_left_as_they_were_found():
    model = tiny("gemma3").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator, attention = torch.get_rng_state(), model.config._attn_implementation
    diagnosed(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.config._attn_implementation == attention
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_tied_weights_are_named():
    tied = diagnosed(tiny("gpt2"))["tied weights"]
    assert tied.verdict is Verdict.NOTE
    assert "transformer.wte.weight = lm_head.weight" in tied.finding
    assert "head's own use is left out" in tied.finding
    assert diagnosed(tiny("llama"))["tied weights"].verdict is Verdict.FINE


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


class Square(torch.autograd.Function):
    """x^2 with a forward-mode derivative 2 x, and `factor` times that in reverse."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, _factor: float) -> Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ARG004
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * 2 * ctx.saved_tensors[0] * gradient, None

    @staticmethod
    def jvp(ctx, tangent, _factor):
        return 2 * ctx.saved_tensors[0] * tangent


class SquareActivation(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return Square.apply(x, self.factor)


@pytest.mark.parametrize(("factor", "fails"), [(1.0, []), (1.01, ["adjointness"])])
def test_a_wrong_backward_is_caught_and_placed(factor, fails):
    model = tiny("llama")
    model.model.layers[0].mlp.act_fn = SquareActivation(factor)
    found = diagnosed(model)
    assert failing(found) == fails
    if fails:
        assert found["adjointness"].finding.endswith("model.layers.0")


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


def test_windows_longer_than_the_model_s_positions_will_not_work():
    found = diagnosed(tiny("gpt2"), length=33)
    assert failing(found) == ["length"]
    assert "--length 32" in found["length"].remedy


@given(*[st.integers(1, 2**34)] * 5)
def test_the_windows_that_fit_do_and_one_more_does_not(model, pilot, graph, window, room):
    demand = cost.Demand(model, pilot, graph, window)
    fits = demand.most(room)
    assert not fits or demand.at(fits) <= room
    assert demand.at(fits + 1) > room


def test_memory_is_held_against_what_is_free_and_what_is_there(monkeypatch):
    found = {}
    for free, total in ((40, 60), (1, 60), (1, 1)):
        monkeypatch.setattr(cost, "free_memory", lambda _device, free=free: free * 2**20)
        monkeypatch.setattr(cost, "total_memory", lambda _device, total=total: total * 2**20)
        found[free, total] = diagnosed(tiny("llama"), windows=100, directions=16)["memory of weights"]
    assert [check.verdict for check in found.values()] == [Verdict.FINE, Verdict.NOTE, Verdict.FAILS]
    assert int(found[1, 60].remedy.split()[0]) < 100


def test_a_sweep_beyond_the_memory_works_in_a_folder(monkeypatch):
    need = int(diagnosed(tiny("llama"), windows=1000)["memory of weights"].number)
    monkeypatch.setattr(cost, "free_memory", lambda _device: need // 4)
    monkeypatch.setattr(cost, "total_memory", lambda _device: int(0.9 * need))
    check = diagnosed(tiny("llama"), windows=1000)["memory of weights"]
    assert check.verdict is Verdict.NOTE
    assert "in a folder (work=" in check.remedy


def test_cost_grows_with_the_windows_and_fewer_weights_cost_less():
    small, large = (diagnosed(tiny("llama"), windows=n) for n in (10, 1000))
    assert large["memory of weights"].number > 10 * small["memory of weights"].number
    assert large["memory of down_proj"].number < large["memory of weights"].number
    assert large["time"].number > 5 * small["time"].number


def test_there_is_no_pilot_where_every_coordinate_is_a_direction():
    some, every = (diagnosed(tiny("llama"), directions=r)["time"].finding for r in (4, 16))
    assert "0 s for the pilot" not in some
    assert "about 0 s for the pilot" in every


@pytest.mark.parametrize("option", ["windows", "length", "directions"])
def test_a_size_of_zero_is_refused(option):
    with pytest.raises(InvalidInputError, match=f"{option} = 0"):
        diagnosed(tiny("llama"), **{option: 0})


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def test_the_command_prints_every_check_and_exits_with_0(tmp_path):
    folder = saved(tiny("llama"), tmp_path / "model")
    done = CliRunner().invoke(app, ["doctor", str(folder), "--length", "8"])
    assert done.exit_code == 0, done.output
    assert "adjointness" in done.stdout
    assert "everything that was looked at will work" in done.stdout
    quiet = CliRunner().invoke(app, ["doctor", str(folder), "--length", "8", "--quiet"])
    assert quiet.stdout.count("\n") == 1


def test_the_command_exits_with_1_where_something_will_not_work(tmp_path):
    folder = saved(tiny("llama"), tmp_path / "model")
    done = CliRunner().invoke(app, ["doctor", str(folder), "--length", "100"])
    assert done.exit_code == 1
    assert "will not work: length" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["nowhere/at/all"], ["model", "--windows", "0"], ["."]])
def test_the_command_exits_with_2_for_wrong_arguments(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["doctor", *arguments]).exit_code == 2


@needs_gemma
def test_gemma_s_forward_passes_are_sound():
    model, _ = gemma()
    subject = Subject(language_model(model), Task(windows=8, length=8, directions=4), seed=0)
    looks = (passes.determinism, passes.causality, passes.attention, passes.padding_left, passes.padding_right)
    for look in (*looks, passes.head):
        assert look(subject).verdict is Verdict.FINE
    assert "model.embed_tokens.weight = lm_head.weight" in weights.ties(subject).finding
