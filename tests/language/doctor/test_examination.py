"""Examinations of sound models of several families, and the command."""

from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="the extra `language` is not installed")


from tangentlens.cli import app
from tangentlens.errors import InvalidInputError
from tests.support import language_zoo as zoo
from tests.support.doctor_cases import diagnosed, failing, tiny
from tests.support.language_cases import byte_level_tokenizer


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


def test_windows_longer_than_the_model_s_positions_will_not_work():
    found = diagnosed(tiny("gpt2"), length=33)
    assert failing(found) == ["length"]
    assert "--length 32" in found["length"].remedy


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
