"""The one-layer Transformer on modular addition (Nanda et al., arXiv 2301.05217), its parameters raw tensors."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError


class OneLayerTransformer(nn.Module):
    """Tokens [a, b, p] -> logits at the last position.

    With x_t = W_E[token_t] + W_pos[t] and d_head = d_model / heads, and z the last position's attention

        z_h = sum_t softmax_t((W_Q[h] x_2) . (W_K[h] x_t) / sqrt(d_head)) W_V[h] x_t,
        r = x_2 + concat_h(z_h) W_O,    logits = (r + ReLU(r W_in) W_out) W_U.

    One pre-residual block, no LayerNorm, no biases, untied unembedding. Attention is causal, so the last position sees
    all three; the others' queries and MLPs cannot reach its logits and are not computed.

    Every entry of a parameter is drawn from N(0, 1) / sqrt(fan), fan = d_model for W_E, W_pos, W_Q, W_K, W_V, W_O
    and W_out, d_mlp for W_in, p + 1 for W_U.

    Args:
        p: modulus; the vocabulary is 0..p, the token p ends the prompt.
        d_model: width of the residual stream, a multiple of `heads`.
        heads: number of attention heads.
        d_mlp: width of the MLP.
        generator: source of the initial weights; consumed in the order in which the parameters are registered.

    Raises:
        InvalidInputError: a size is not positive, or d_model is not a multiple of heads.
    """

    def __init__(
        self, p: int = 29, d_model: int = 64, heads: int = 4, d_mlp: int = 256, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        _check_sizes(p, d_model, heads, d_mlp)
        self.p, self.d_model, self.heads, self.d_head = p, d_model, heads, d_model // heads

        def normal(*shape: int, fan: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) / math.sqrt(fan))

        self.W_E = normal(p + 1, d_model, fan=d_model)
        self.W_pos = normal(3, d_model, fan=d_model)
        self.W_Q = normal(heads, self.d_head, d_model, fan=d_model)
        self.W_K = normal(heads, self.d_head, d_model, fan=d_model)
        self.W_V = normal(heads, self.d_head, d_model, fan=d_model)
        self.W_O = normal(d_model, d_model, fan=d_model)
        self.W_in = normal(d_model, d_mlp, fan=d_mlp)
        self.W_out = normal(d_mlp, d_model, fan=d_model)
        self.W_U = normal(d_model, p + 1, fan=p + 1)

    def residual(self, tokens: Int[Tensor, "n 3"]) -> Float[Tensor, "n d"]:
        """Final residual stream at the last position, (n, d_model): what the unembedding reads."""
        return self.residual_from(self.embedded(tokens))

    def embedded(self, tokens: Int[Tensor, "n 3"]) -> Float[Tensor, "n 3 d"]:
        """Token and position embeddings together: what the block reads."""
        return self.W_E[tokens] + self.W_pos

    def residual_from(self, x: Float[Tensor, "n 3 d"]) -> Float[Tensor, "n d"]:
        """The final residual stream that these embeddings lead to."""
        last = x[:, -1]
        query = torch.einsum("hkd,nd->nhk", self.W_Q, last)
        key = torch.einsum("hkd,ntd->nhtk", self.W_K, x)
        value = torch.einsum("hkd,ntd->nhtk", self.W_V, x)
        attention = (torch.einsum("nhk,nhtk->nht", query, key) / math.sqrt(self.d_head)).softmax(dim=-1)
        z = torch.einsum("nht,nhtk->nhk", attention, value).flatten(start_dim=1)
        attended = last + z @ self.W_O
        return attended + torch.relu(attended @ self.W_in) @ self.W_out

    def forward(self, tokens: Int[Tensor, "n 3"]) -> Float[Tensor, "n v"]:
        """Logits at the last position, (n, p + 1); loss and accuracy look at the first p."""
        return self.residual(tokens) @ self.W_U


def _check_sizes(p: int, d_model: int, heads: int, d_mlp: int) -> None:
    sizes = {"p": p, "d_model": d_model, "heads": heads, "d_mlp": d_mlp}
    for name, size in sizes.items():
        if size < 1:
            raise InvalidInputError(f"{name} = {size} is not positive", where=name, remedy="Give at least 1.")
    if d_model % heads:
        raise InvalidInputError(
            f"d_model = {d_model} is not a multiple of heads = {heads}",
            where="d_model",
            remedy="The heads share the residual stream's width equally.",
        )
