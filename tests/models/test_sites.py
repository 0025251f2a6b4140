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


class Encoder(nn.Module):
    """nn.TransformerEncoder read as a mean over the real positions; takes its fused path in eval mode."""

    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=options.pop("batch_first", True))
        self.encoder, self.read = nn.TransformerEncoder(layer, 2, **options), nn.Linear(8, 3)

    def forward(self, src, padding=None):
        real = torch.ones(src.shape[:2], dtype=torch.bool) if padding is None else ~padding
        hidden = self.encoder(src, src_key_padding_mask=padding)
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, src.shape[1] - hidden.shape[1]))
        return self.read((hidden * real[:, :, None]).sum(1) / real.sum(1, keepdim=True))


def encoder_and_inputs(padded: bool, **options):
    torch.manual_seed(0)
    model = Encoder(**options).eval()
    src = torch.randn(6, 5, 8)
    if not padded:
        return model, {"src": src}
    return model, {"src": src, "padding": torch.arange(5)[None] >= torch.tensor([5, 3, 4, 2, 5, 1])[:, None]}


MODULES = ["encoder", "encoder.layers.0", "encoder.layers.1", "encoder.layers.0.linear1", "encoder.layers.1.norm2"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("place", [entering, leaving])
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_sites_in_an_encoder_that_would_take_its_fused_path(place, module, padded, frozen):
    model, inputs = encoder_and_inputs(padded)
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(not frozen)
    with torch.no_grad():
        fused = model(**inputs)
        site = place(model, inputs, module)
        assert site.values.shape[0] == 6
        torch.testing.assert_close(site.run(site.values), fused, rtol=1e-4, atol=1e-5)
        changed = site.values.clone()
        changed[2] += torch.randn(changed.shape[1], generator=torch.Generator().manual_seed(1))
        moved = (site.run(changed) - fused).abs().amax(1)
    others = torch.tensor([0, 1, 3, 4, 5])
    assert float(moved[2]) > 1e-4
    assert float(moved[others].max()) < 1e-5
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_padded_positions_do_not_reach_the_outputs():
    model, inputs = encoder_and_inputs(padded=True)
    site = entering(model, inputs, "encoder")
    hidden = site.values.unflatten(1, (5, 8)).clone()
    hidden[inputs["padding"]] = 7.0
    with torch.no_grad():
        torch.testing.assert_close(site.run(hidden.flatten(1)), site.run(site.values), rtol=1e-4, atol=1e-5)


def test_as_many_positions_as_inputs_are_not_taken_for_inputs():
    model, inputs = encoder_and_inputs(padded=False, batch_first=False, enable_nested_tensor=False)

    class SequenceFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.encoder

        def forward(self, src):
            return self.inner(src.transpose(0, 1)).mean(0)

    with pytest.raises(InvalidInputError, match="batch axis first"):
        leaving(SequenceFirst(), inputs["src"][:5], "inner.layers.0")


def test_a_module_called_by_keywords_has_an_entrance():
    class ByKeyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x):
            return self.inner(input=x)

    model, x = ByKeyword(), torch.randn(4, 3)
    site = entering(model, x, "inner")
    torch.testing.assert_close(site.values, x)
    torch.testing.assert_close(site.run(2 * x), model(2 * x))


class InPlace(nn.Module):
    """A residual block that writes its sum into the output of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.read = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        hidden = self.mix(x)
        hidden += x
        return self.read(hidden)


def test_a_model_may_write_into_what_passes_at_a_site():
    model = InPlace().eval()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    site = leaving(model, x, "mix")
    torch.testing.assert_close(site.values, model.mix(x).detach())
    values = site.values.clone().requires_grad_()
    outputs = site.run(values)
    torch.testing.assert_close(outputs, model(x))
    torch.testing.assert_close(values.detach(), site.values)
    (gradient,) = torch.autograd.grad(outputs.sum(), values)
    torch.testing.assert_close(gradient, model.read.weight.sum(dim=0).expand(4, 3))
