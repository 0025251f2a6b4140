"""Models with every way of using parameters that we claim to support, and the plain oracle they are held against.

A new case is one entry of CASES; it inherits every test of test_entk.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Tensor]


class HiddenScale(torch.autograd.Function):
    """An operation whose inside no function mode sees."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum(0)


class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.mix = nn.Embedding(11, 6, padding_idx=0), nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.mix(self.embedding(tokens))).mean(1))


class SmallEncoder(nn.Module):
    """Positions as a sliced parameter, a class token that is expanded and concatenated, attention, layer norms."""

    def __init__(self):
        super().__init__()
        self.embed, self.readout = nn.Linear(4, 8), nn.Linear(8, 3)
        self.positions, self.token = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(1, 1, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        hidden = self.embed(x) + self.positions[: x.shape[1]]
        hidden = torch.cat([self.token.expand(x.shape[0], -1, -1), hidden], 1)
        return self.readout(self.block(hidden)[:, 0])


class EncoderStack(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(6), enable_nested_tensor=False)

    def forward(self, x):
        return self.layers(x)[:, -1, :3]


class SequenceFirstAttention(nn.Module):
    """The batch is the second axis inside."""

    def __init__(self):
        super().__init__()
        self.attention, self.readout = nn.MultiheadAttention(6, 3), nn.Linear(6, 2)

    def forward(self, x):
        steps = x.transpose(0, 1)
        return self.readout(self.attention(steps, steps, steps)[0].mean(0))


class ConvolutionalNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2)
        self.batch_norm, self.group_norm, self.readout = nn.BatchNorm2d(6), nn.GroupNorm(2, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.readout(functional.gelu(self.group_norm(self.batch_norm(self.convolution(x)))).mean((2, 3)))


class Convolution1d(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(2, 3, 3, padding="same", dilation=2)

    def forward(self, x):
        return self.convolution(x).tanh().sum(2)


class LayerUsedTwice(nn.Module):
    """One linear layer used twice, around an in-place activation and both norms."""

    def __init__(self):
        super().__init__()
        self.linear, self.layer_norm = nn.Linear(5, 5), nn.LayerNorm(5)
        self.rms_norm, self.readout = nn.RMSNorm(5), nn.Linear(5, 3)

    def forward(self, x):
        hidden = torch.relu_(self.linear(x))
        return self.readout(self.rms_norm(self.linear(self.layer_norm(hidden))))


class PartlyFrozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)
        self.first.bias.requires_grad_(False)
        self.second.weight.requires_grad_(False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


class WeightNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
        self.readout = nn.Linear(6, 3)

    def forward(self, x):
        return self.readout(torch.tanh(self.linear(x)))


class MergedPositions(nn.Module):
    """Positions merged into the batch axis, example-major, as in GPT-2's Conv1D."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(6))
        self.readout = nn.Linear(6, 2)

    def forward(self, x):
        n, t, d = x.shape
        hidden = torch.addmm(self.bias, x.reshape(-1, d), self.weight).view(n, t, -1)
        return self.readout(hidden.tanh().sum(1))


class MergedPositionsMinor(nn.Module):
    """Positions merged into the batch axis, position-major."""

    def __init__(self):
        super().__init__()
        self.linear, self.readout = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        n, t, d = x.shape
        hidden = self.linear(x.transpose(0, 1).reshape(-1, d)).view(t, n, -1)
        return self.readout(hidden.tanh().sum(0))


class Recurrent(nn.Module):
    def __init__(self, layer: type[nn.RNNBase], **options):
        super().__init__()
        self.layer = layer(3, 4, batch_first=True, **options)
        self.readout = nn.Linear(8 if options.get("bidirectional") else 4, 2)

    def forward(self, x):
        return self.readout(self.layer(x)[0][:, -1])


class RawParameters(nn.Module):
    """Transposes, products of a weight with itself, einsum with a head axis, splits, slices, scales."""

    def __init__(self):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.randn(4, 7)), nn.Parameter(torch.randn(7))
        self.H, self.g = nn.Parameter(torch.randn(2, 7, 3)), nn.Parameter(torch.randn(7))
        self.Q, self.s = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(()))

    def forward(self, x):
        y = torch.relu(x @ self.W.T @ self.W + self.b) * (1 + self.g)
        z = torch.einsum("nd,hdf->nhf", y, self.H)
        q, k = self.Q.chunk(2)
        return (z[:, 0] @ q + z[:, 1] @ k.T) / 3 - self.b[:3] * self.s


class ProductOfWeights(nn.Module):
    """W^T W formed before it meets the data, and a weight cast on its way."""

    def __init__(self):
        super().__init__()
        self.W, self.V = nn.Parameter(torch.randn(4, 7)), nn.Parameter(torch.randn(3, 7))

    def forward(self, x):
        return torch.relu(x @ (self.W.T @ self.W)) @ self.V.to(torch.float64).to(x.dtype).reshape(7, 3)


class SplitAndSliced(nn.Module):
    """One raw matrix split unevenly, sliced across the pieces, reshaped, and used as a table by an index."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 7))

    def forward(self, x):
        q, k, v = self.W.split([2, 3, 2], dim=1)
        y = torch.tanh(functional.linear(x, k.T)) * torch.einsum("nd,dk->nk", x, self.W[:, 1:4])
        y = y + (x @ q @ v.T)[:, :3] * self.W.reshape(7, 4)[2, :3]
        return y + self.W[x[:, :2].argmax(1)][:, 4:]


class EinsumEllipsis(nn.Module):
    """Three operands, an ellipsis, a diagonal (no rule), and both ends of one tensor."""

    def __init__(self):
        super().__init__()
        self.A, self.B = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(5, 2))
        self.D = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        y = torch.einsum("...a,ab,bc->...c", x, self.A, self.B)
        return y.tanh().sum(1) + torch.einsum("ni,ii->n", x[:, 0, :3], self.D)[:, None]


class TiedRawEmbedding(nn.Module):
    """One raw matrix as an embedding by indexing and as an unembedding through einsum, with Python control flow."""

    def __init__(self):
        super().__init__()
        self.W_E, self.W_pos = nn.Parameter(torch.randn(9, 5)), nn.Parameter(torch.randn(6, 5))
        self.mixers = nn.ParameterList([nn.Parameter(torch.randn(5, 5)) for _ in range(2)])

    def forward(self, tokens):
        h = self.W_E[tokens] + self.W_pos[torch.arange(tokens.shape[1])]
        for i, mixer in enumerate(self.mixers):
            h = h + torch.tanh(h @ mixer) if i else torch.tanh(h @ mixer)
        return torch.einsum("nd,vd->nv", h[:, -1], self.W_E)


class MaskedMix(nn.Module):
    """torch.where between data and a parameter, a bilinear form, positions gathered for each example."""

    def __init__(self):
        super().__init__()
        self.fill, self.table = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(4, 5))
        self.form = nn.Bilinear(5, 5, 3)

    def forward(self, x):
        y = torch.where(x > 0, x, self.fill)
        places = torch.arange(1, device=x.device).expand(x.shape[0])
        return self.form(y, torch.tanh(y) + self.table[places])


class WithoutRules(nn.Module):
    """Calls that have no rule: a learned slope, which torch cannot vectorise either, and a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.slope, self.upsample, self.readout = nn.PReLU(2), nn.ConvTranspose1d(2, 2, 3), nn.Linear(5, 2)

    def forward(self, x):
        return self.readout(self.upsample(self.slope(x)).tanh().mean(1))


def _normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(*shape, generator=generator)


def _tokens(vocabulary: int, *shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(0, vocabulary, shape, generator=generator)


CASES = [
    Case("mlp", lambda: nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 13)), _normal(18, 5)),
    Case(
        "relu mlp with dead units",
        lambda: nn.Sequential(nn.Linear(2, 60), nn.ReLU(), nn.Linear(60, 13)),
        _normal(40, 2),
    ),
    Case("tied embedding", TiedEmbedding, _tokens(11, 7, 4)),
    Case("encoder", SmallEncoder, _normal(6, 4, 4)),
    Case("encoder stack", EncoderStack, _normal(5, 3, 6)),
    Case("sequence-first attention", SequenceFirstAttention, _normal(6, 4, 6)),
    Case("cnn", ConvolutionalNet, _normal(6, 4, 6, 6)),
    Case("conv1d", Convolution1d, _normal(6, 2, 5)),
    Case("layer used twice", LayerUsedTwice, _normal(9, 5)),
    Case("partly frozen", PartlyFrozen, _normal(9, 4)),
    Case("weight norm", WeightNorm, _normal(9, 5)),
    Case("merged positions", MergedPositions, _normal(8, 3, 4)),
    Case("merged positions, position-major", MergedPositionsMinor, _normal(8, 3, 4)),
    Case("lstm", lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), _normal(5, 3, 3)),
    Case("gru", lambda: Recurrent(nn.GRU), _normal(5, 3, 3)),
    Case("elman", lambda: Recurrent(nn.RNN, bias=False), _normal(5, 3, 3)),
    Case("raw parameters", RawParameters, _normal(9, 7)),
    Case("product of weights", ProductOfWeights, _normal(9, 7)),
    Case("split and sliced", SplitAndSliced, _normal(8, 4)),
    Case("einsum", EinsumEllipsis, _normal(7, 3, 4)),
    Case("tied raw embedding", TiedRawEmbedding, _tokens(9, 6, 6)),
    Case("without rules", WithoutRules, _normal(5, 2, 3)),
    Case("masked mix", MaskedMix, _normal(6, 5)),
]


def build(case: Case, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    """The case's model in evaluation mode and its inputs, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = case.build().eval().to(dtype)
    inputs = case.inputs(torch.Generator().manual_seed(1))
    return model, inputs.to(dtype) if inputs.is_floating_point() else inputs


def jacobians(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Name -> (N, C, P) by a plain loop over examples and outputs."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for i in range(len(inputs)):
        output = model(inputs[i : i + 1])[0]
        for value in output:
            gradients = torch.autograd.grad(
                value, list(parameters.values()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for name, gradient in zip(parameters, gradients, strict=True):
                rows[name].append(gradient.flatten())
    return {name: torch.stack(found).unflatten(0, (len(inputs), -1)) for name, found in rows.items()}


def reduced(jacobian: Tensor, outputs: str, other: Tensor | None = None) -> Tensor:
    """The kernel of (N, C, P) gradients by the definition of each reduction."""
    full = torch.einsum("icp,jdp->icjd", jacobian, jacobian if other is None else other)
    if outputs == "full":
        return full.flatten(2).flatten(0, 1)
    if outputs == "trace":
        return torch.einsum("icjc->ij", full) / full.shape[1]
    return full.mean((1, 3))


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm().clamp_min(1e-300))
