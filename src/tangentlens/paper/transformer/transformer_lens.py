"""The one-layer Transformer as a model of TransformerLens (extra `transformer-lens`), for its hooks and tools."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError
from tangentlens.models.extras import optional_module

_EXTRA = "transformer-lens"
_BLOCK = "layers.0._original_component"

# parameter of `networks.OneLayerTransformer` -> parameter of the bridge that holds the same numbers
BRIDGE_PARAMETERS: Mapping[str, str] = {
    "W_E": "tok_embed._original_component.weight",
    "W_pos": "pos._original_component.weight",
    "W_Q": f"{_BLOCK}.attn._original_component.q._original_component.weight",
    "W_K": f"{_BLOCK}.attn._original_component.k._original_component.weight",
    "W_V": f"{_BLOCK}.attn._original_component.v._original_component.weight",
    "W_O": f"{_BLOCK}.attn._original_component.o._original_component.weight",
    "W_in": f"{_BLOCK}.mlp._original_component.fc_in._original_component.weight",
    "W_out": f"{_BLOCK}.mlp._original_component.fc_out._original_component.weight",
    "W_U": "head._original_component.weight",
}


def transformer_bridge(weights: Mapping[str, Float[Tensor, "..."]]) -> nn.Module:
    """A TransformerLens 4 TransformerBridge that computes what `networks.OneLayerTransformer` computes.

    One block without normalisation, ReLU, causal attention scaled by sqrt(d_head), learned positions, untied
    unembedding. TransformerLens gives every linear layer a bias: they are set to zero and frozen, so that they belong
    to no kernel. Its linear layers hold their weights as (out, in): W_Q, W_K and W_V with the heads merged into
    `out`, head-major, the others transposed. The kernel of a parameter does not depend on the order of its entries.

    Args:
        weights: the nine parameters by name, for example `model.state_dict()`; they are copied.

    Returns:
        The bridge, in evaluation mode, on the weights' device and of their dtype. It returns logits (n, 3, p + 1) of
        all positions; pass `output=last_position` to `entk`, and `groups={name: [path]}` from `BRIDGE_PARAMETERS`.

    Raises:
        MissingExtraError: the extra `transformer-lens` is not installed.
        InvalidInputError: a parameter is missing, there is one more, or one has another shape than the others imply.
    """
    if set(weights) != set(BRIDGE_PARAMETERS):
        raise InvalidInputError(
            f"the weights are {', '.join(sorted(weights))}",
            where="weights",
            remedy=f"Give {', '.join(BRIDGE_PARAMETERS)}.",
        )
    heads, d_head, d_model = weights["W_Q"].shape
    vocabulary, positions = weights["W_E"].shape[0], weights["W_pos"].shape[0]
    bridge = _boot(
        d_model=d_model,
        d_head=d_head,
        n_heads=heads,
        n_layers=1,
        n_ctx=positions,
        d_vocab=vocabulary,
        d_mlp=weights["W_in"].shape[1],
        act_fn="relu",
        normalization_type=None,
        init_weights=False,
    ).to(device=weights["W_E"].device, dtype=weights["W_E"].dtype)
    parameters = dict(bridge.named_parameters())
    for name, value in weights.items():
        _copy(name, _as_linear(name, value), parameters[BRIDGE_PARAMETERS[name]])
    for path in set(parameters) - set(BRIDGE_PARAMETERS.values()):
        parameters[path].requires_grad_(False).zero_()
    return bridge.eval()


def last_position(logits: Float[Tensor, "n t v"]) -> Float[Tensor, "n v"]:
    """Logits at the last position: the `output=` of `entk` for a bridge."""
    return logits[:, -1]


def _as_linear(name: str, value: Tensor) -> Tensor:
    """In the layout of TransformerLens: embeddings as they are, weights as (out, in)."""
    if name in ("W_E", "W_pos"):
        return value
    return value.flatten(0, 1) if value.ndim == 3 else value.T


def _copy(name: str, value: Tensor, parameter: nn.Parameter) -> None:
    if value.shape != parameter.shape:
        raise InvalidInputError(
            f"the shape {tuple(value.shape)} does not fit the other weights, {tuple(parameter.shape)} does",
            where=name,
            remedy="Give the parameters of one network.",
        )
    parameter.data.copy_(value)


def _boot(**sizes: Any) -> nn.Module:
    config = optional_module("transformer_lens.config", _EXTRA)
    native = optional_module("transformer_lens.model_bridge.sources.native", _EXTRA)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their initial weights from the global generator
        bridge: nn.Module = native.boot(config.TransformerBridgeConfig(**sizes))
    return bridge
