"""The preset of the last matrices of all MLPs, in every dense family."""

import pytest
import torch

import tangentlens as tl
from tangentlens.language.sweep.groups import resolve_language_groups
from tests.support.language_families import DENSE, tiny


@pytest.mark.parametrize("family", DENSE)
def test_the_preset_down_proj_is_one_matrix_of_every_block_that_writes_to_the_hidden_state(family):
    lm = tl.language_model(tiny(family))
    parameters = dict(lm.model.named_parameters())
    groups = resolve_language_groups(lm, "down_proj")
    assert len(groups) == len(lm.blocks)
    for (block, module), group in zip(lm.blocks, groups, strict=True):
        (name,) = group.parameters
        assert name.startswith(f"{block}.")
        assert sorted(parameters[name].shape) == [16, max(parameters[name].shape)]
        inside = [n for n, p in module.named_parameters() if p.ndim > 1 and p.shape != torch.Size([16, 16])]
        assert name.removeprefix(f"{block}.") in inside[-3:]  # Llama's order is gate, up, down
