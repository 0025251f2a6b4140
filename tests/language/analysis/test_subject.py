"""Which block a method's layer is in, and which layer of a method lies in a block."""

import pytest
import torch

pytest.importorskip("transformers", reason="the extra `language` is not installed")

from tangentlens.language.analysis.subject import LanguageSubject
from tangentlens.language.analysis.task import Task
from tangentlens.language.model import language_model
from tests.support import language_zoo as zoo


@pytest.fixture(scope="module")
def subject():
    lm, labels = language_model(zoo.tiny("llama")), torch.arange(4)[:, None] % 2 == torch.arange(2)
    task = Task(("NOUN", "Number=Sing"), ("pos", "morph"), labels, torch.arange(4) < 2, torch.arange(4))
    groups = ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.up_proj")
    return LanguageSubject(lm, zoo.windows(4)["input_ids"], task, groups, ("raw", "fisher"), 0)


def test_layers_of_kernels_are_groups_and_those_of_the_baseline_blocks(subject):
    assert [subject.block_of("entk", layer) for layer in range(3)] == [0, 0, 1]
    assert [subject.block_of("pca", layer) for layer in range(2)] == [0, 1]
    assert subject.layer_of("entk", 1) == 2
    assert subject.layer_of("entk", 0) is None  # two groups
    assert subject.layer_of("pca", 1) == 1
    assert subject.layer_of("pca", 2) is subject.layer_of("entk", 2) is None


def test_methods_are_named_after_geometries(subject):
    assert subject.sources == {"entk": "raw", "entk_fisher": "fisher", "pca": "pca"}


def test_the_first_family_is_the_main_one(subject):
    assert subject.task.kinds == ("pos", "morph")
    assert subject.task.main == [0]
    assert subject.task.members("morph") == [1]
