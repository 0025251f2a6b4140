import pytest
import torch
from torch import nn

from tangentlens.errors import InvalidInputError
from tangentlens.models.sites import entering, input_site, leaving, parameter_site


class Picture(nn.Module):
    """Embedding, position-wise layer, readout: activations with an axis of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.mix = nn.Linear(3, 4)
        self.read = nn.Linear(8, 2)

    def forward(self, tokens):
        return self.read(torch.tanh(self.mix(self.embed(tokens))).flatten(start_dim=1))


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Picture().eval()


TOKENS = torch.tensor([[0, 1], [2, 3], [4, 0]])


@pytest.mark.parametrize(
    ("place", "module", "width"),
    [(leaving, "embed", 6), (leaving, "mix", 8), (entering, "mix", 6), (entering, "read", 8)],
)
def test_a_site_gives_what_passes_there_and_takes_what_is_put_there(model, place, module, width):
    site = place(model, TOKENS, module)
    assert site.values.shape == (3, width)
    torch.testing.assert_close(site.run(site.values), model(TOKENS))
    swapped = site.run(site.values[[1, 0, 2]])
    torch.testing.assert_close(swapped, model(TOKENS)[[1, 0, 2]])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_output_of_the_last_module_is_the_output(model):
    site = leaving(model, TOKENS, "read")
    torch.testing.assert_close(site.run(site.values + 1), model(TOKENS) + 1)


def test_inputs_and_parameters_are_sites_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
    inputs, parameters = input_site(net, x), parameter_site(net, x)
    assert inputs.values.shape == (4, 6)
    torch.testing.assert_close(inputs.run(2 * inputs.values), net(2 * x))
    assert parameters.values.shape == (1, 14)
    torch.testing.assert_close(parameters.run(3 * parameters.values), 3 * net(x))
    assert inputs.scale == pytest.approx(float((x - x.mean(0)).square().sum(dim=(1, 2)).mean().sqrt()))
    assert parameters.scale == pytest.approx(float(parameters.values.norm()))


def test_the_model_is_left_as_found_when_the_call_fails(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    site = leaving(model, TOKENS, "mix")
    with pytest.raises(RuntimeError):
        site.run(site.values[:1].repeat(5, 1)[:, :3])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    parameter_site(model, TOKENS).run(torch.zeros(1, sum(p.numel() for p in model.parameters())))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_what_is_no_site_is_refused(model):
    with pytest.raises(InvalidInputError, match=r"no module 'mixer'.*embed, mix, read"):
        leaving(model, TOKENS, "mixer")
    with pytest.raises(InvalidInputError, match="real numbers"):
        input_site(model, TOKENS)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(self.layer(x))

    with pytest.raises(InvalidInputError, match="one tensor with 3 rows"):
        leaving(Twice(), torch.ones(3, 2), "layer")
    with pytest.raises(InvalidInputError, match="but \\[\\] passed"):
        leaving(Twice(), torch.ones(3, 2), "spare")
