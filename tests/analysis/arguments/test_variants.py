"""Other states of a user's model, from whatever holds them; the model itself is never changed."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tangentlens.analysis.arguments.variants import check_untrained, reinitialised, untrained_models, variant
from tangentlens.errors import InvalidInputError


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.scale * self.layer(x)


def test_states_come_as_dicts_files_modules_and_functions(tmp_path):
    model, other = net(), reinitialised(net(), 3)
    state = other.state_dict()
    torch.save(state, tmp_path / "a.pt")
    torch.save({"model": state, "step": 5}, tmp_path / "b.pt")
    save_file(dict(state), tmp_path / "c.safetensors")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = (state, tmp_path / "a.pt", str(tmp_path / "b.pt"), tmp_path / "c.safetensors", other, lambda: state)
    for one in given:
        found = variant(model, one, "untrained")
        assert all(torch.equal(found.state_dict()[name], value) for name, value in state.items())
        assert not found.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_parameters_drawn_anew_leave_torch_s_generator_alone():
    model = net()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, second = reinitialised(model, 1), reinitialised(model, 1), reinitialised(model, 2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, model[0].weight)


def test_a_function_is_called_with_different_seeds():
    seeds = []
    found = list(untrained_models(net(), lambda seed: (seeds.append(seed), net())[1], 3, 10))
    assert (len(found), seeds) == (3, [10, 11, 12])


@pytest.mark.parametrize("state", [3, {"0.weight": torch.zeros(2, 2)}, "nowhere.pt", lambda: 5])
def test_what_is_no_state_names_the_remedy(state):
    with pytest.raises(InvalidInputError) as caught:
        variant(net(), state, "untrained")
    assert "untrained" in caught.value.where
    assert caught.value.remedy


def test_a_model_that_cannot_be_drawn_anew_is_refused_by_name():
    with pytest.raises(InvalidInputError, match="Scaled"):
        check_untrained(Scaled(), "reinitialise")
    assert list(untrained_models(Scaled(), None, 3, 0)) == []
