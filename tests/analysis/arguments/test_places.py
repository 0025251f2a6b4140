"""Sites are found by running the model: what each module returns, every value once."""

import pytest
import torch
from torch import nn

from tangentlens.analysis.arguments.places import MOST_SITES, model_sites
from tangentlens.errors import InvalidInputError


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens, mask):
        hidden = self.block(self.embed(tokens), src_key_padding_mask=mask)
        kept = (~mask)[..., None].float()
        return self.head((hidden * kept).sum(1) / kept.sum(1))


def test_a_network_of_layers_has_its_inputs_and_every_layer_but_the_last():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 2)).eval()
    assert list(model_sites(model, torch.randn(10, 4))) == ["inputs", "0", "1"]


def test_running_a_site_on_its_own_values_gives_the_outputs():
    torch.manual_seed(0)
    model = Encoder().eval()
    tokens = torch.randint(0, 11, (6, 5))
    mask = torch.arange(5)[None] >= torch.tensor([5, 3, 4, 5, 2, 5])[:, None]
    with torch.no_grad():
        exact = model(tokens, mask)
    sites = model_sites(model, {"tokens": tokens, "mask": mask})
    assert "embed" in sites
    assert any(name.startswith("block") for name in sites)
    for site in sites.values():
        assert torch.allclose(site.run(site.values), exact, atol=1e-5)


def test_a_deep_network_is_sampled_with_its_last_layer():
    layers = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(20)]
    sites = list(model_sites(nn.Sequential(*layers, nn.Linear(4, 2)), torch.randn(10, 4)))
    assert len(sites) == MOST_SITES
    assert sites[0] == "inputs"
    assert sites[-1] in ("19", "19.1")


@pytest.mark.parametrize("sites", [["nowhere"], 3, ("0", 1)])
def test_what_is_no_site_is_refused(sites):
    with pytest.raises(InvalidInputError):
        model_sites(nn.Sequential(nn.Linear(4, 2)), torch.randn(10, 4), sites)
