"""The paper's Transformer as a model of TransformerLens: equal logits, equal kernels."""

import warnings

import pytest
import torch

import tangentlens as tl
from tangentlens.models import extras
from tangentlens.paper.modular_addition.data import token_inputs
from tangentlens.paper.transformer.network import OneLayerTransformer
from tangentlens.paper.transformer.transformer_lens import BRIDGE_PARAMETERS, last_position, transformer_bridge


def network() -> OneLayerTransformer:
    return OneLayerTransformer(7, 12, 3, 20, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def bridge():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TransformerLens and its dependencies say while they are imported
        pytest.importorskip("transformer_lens", reason="the extra transformer-lens is not installed")
        return transformer_bridge(network().state_dict())


def test_logits_agree(bridge):
    tokens = token_inputs(7)
    torch.testing.assert_close(last_position(bridge(tokens)), network()(tokens), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", ["mean", "trace", "full"])
def test_all_nine_kernels_are_equal(bridge, outputs):
    """Each from its own layout: heads merged, weights transposed, every position computed."""
    tokens = token_inputs(7)
    groups = {name: [path] for name, path in BRIDGE_PARAMETERS.items()}
    expected = tl.entk(network(), tokens, outputs=outputs, groups="parameter")
    found = tl.entk(bridge, tokens, outputs=outputs, groups=groups, output=last_position)
    assert set(found) == set(expected)
    assert all(how.startswith("factored") for how in found.strategies.values())
    for name in expected:
        torch.testing.assert_close(found[name].dense(), expected[name].dense(), rtol=1e-9, atol=1e-12)


def test_biases_are_zero_and_belong_to_no_kernel(bridge):
    biases = [value for name, value in bridge.named_parameters() if name.endswith("bias")]
    assert biases
    assert not any(bool(value.any()) or value.requires_grad for value in biases)
    ntk = tl.entk(bridge, token_inputs(7), outputs="mean", groups="parameter", output=last_position)
    assert set(ntk) == set(BRIDGE_PARAMETERS.values())


@pytest.mark.usefixtures("bridge")
def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    transformer_bridge(network().state_dict())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(tl.MissingExtraError, match=r"tangentlens\[transformer-lens\]"):
        transformer_bridge(network().state_dict())


@pytest.mark.usefixtures("bridge")
def test_weights_of_another_network_are_refused():
    with pytest.raises(tl.InvalidInputError, match="W_U"):
        transformer_bridge({name: value for name, value in network().state_dict().items() if name != "W_U"})
    with pytest.raises(tl.InvalidInputError, match="W_out"):
        transformer_bridge({**network().state_dict(), "W_out": torch.ones(5, 12)})
