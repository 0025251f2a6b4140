"""Layers that people write less often, each legitimate: no example influences another."""

import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.support.model_grammar.raw_pieces import raw
from tests.support.model_grammar.registry import piece


@piece("bound method", "odd")
class BoundMethod(nn.Module):
    """Holds a method of its own and a closure over itself."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)
        self.step, self.close = self._step, lambda h: self.layer(h).sin()

    def _step(self, h):
        return self.layer(h).tanh()

    def forward(self, h):
        return self.step(h) + self.close(h)


@piece("hooked", "odd")
class Hooked(nn.Module):
    """Forward hooks change what a layer takes and gives."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.scale = nn.Linear(d, d), raw(d)
        self.layer.register_forward_pre_hook(lambda _, args: (args[0].tanh(),))
        self.layer.register_forward_hook(lambda _, args, result: result * self.scale + args[0])

    def forward(self, h):
        return self.layer(h)


@piece("hypernetwork", "odd")
class Hypernetwork(nn.Module):
    """Weights of every example from its own first position."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.make = nn.Linear(d, d * d)

    def forward(self, h):
        n, _, d = h.shape
        return torch.bmm(h, self.make(h[:, 0]).view(n, d, d) / d).tanh()


@piece("written into place", "odd")
class WrittenIntoPlace(nn.Module):
    """A layer's results on every other position put into a tensor of zeros."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.mark = nn.Linear(d, d), raw(d)

    def forward(self, h):
        out = torch.zeros_like(h)
        out[:, ::2] = self.layer(h[:, ::2])
        out[:, -1] = self.mark
        return out + h.tanh()


@piece("quantised weight", "odd")
class Quantised(nn.Module):
    """A weight rounded on the way forward, with the gradient of the weight itself; a part detached."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.b = raw(d, d), raw(d)

    def forward(self, h):
        rounded = self.W + ((self.W * 8).round() / 8 - self.W).detach()
        return functional.linear(h, rounded, self.b).tanh() + functional.linear(h, self.W.detach())


@piece("structured matrix", "odd")
class Structured(nn.Module):
    """A matrix made from parameters by linear algebra."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.W, self.v = raw(d, d), raw(d)
        self.form = draw.choice(["tril", "diag", "cumsum", "exp", "inverse", "outer", "softmax", "normalise", "skew"])

    def _matrix(self):
        if self.form == "tril":
            return self.W.tril() + self.v.diag()
        if self.form == "diag":
            return torch.diag_embed(self.v) + self.W[0]
        if self.form == "cumsum":
            return self.W.cumsum(0) * self.v
        if self.form == "exp":
            return torch.matrix_exp(self.W - self.W.T) * self.v.exp()
        if self.form == "inverse":
            return torch.linalg.inv(self.W @ self.W.T + torch.eye(len(self.v)).to(self.W)) + self.v
        if self.form == "outer":
            return torch.outer(self.v, self.v) + self.W
        if self.form == "softmax":
            return self.W.softmax(0) + self.v.sigmoid()
        if self.form == "normalise":
            return functional.normalize(self.W, dim=1) * self.v[:, None]
        return self.W - self.W.mT + self.v

    def forward(self, h):
        return torch.tanh(h @ self._matrix())


@piece("top positions", "odd")
class TopPositions(nn.Module):
    """The two positions with the largest score of each example go through a layer and are put back."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.count = nn.Linear(d, d), min(2, T)

    def forward(self, h):
        places = h[..., 0].topk(self.count, 1).indices[..., None].expand(-1, -1, h.shape[2])
        return h.scatter_add(1, places, self.layer(h.gather(1, places)).tanh())


@piece("unfolded", "odd")
class Unfolded(nn.Module):
    """A convolution as a product with windows of neighbours."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.W = raw(3 * d, d)

    def forward(self, h):
        windows = functional.pad(h, (0, 0, 1, 1)).unfold(1, 3, 1)
        return (windows.flatten(2) @ self.W).tanh()


@piece("fourier filter", "odd")
class FourierFilter(nn.Module):
    """A filter over positions in frequency space, its complex numbers held as pairs."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.filter = raw(T // 2 + 1, d, 2)

    def forward(self, h):
        spectrum = torch.fft.rfft(h, dim=1, norm="ortho") * torch.view_as_complex(self.filter)
        return h + torch.fft.irfft(spectrum, n=h.shape[1], dim=1, norm="ortho")


@piece("functional norms", "odd")
class FunctionalNorms(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.gain, self.shift = raw(d), raw(d)
        self.form = draw.choice(["layer", "batch", "group", "rms"])

    def forward(self, h):
        d = h.shape[2]
        if self.form == "layer":
            return functional.layer_norm(h, (d,), self.gain, self.shift)
        if self.form == "rms":
            return functional.rms_norm(h, (d,), self.gain) + self.shift
        x = h.transpose(1, 2)
        if self.form == "group":
            return functional.group_norm(x, 2, self.gain, self.shift).transpose(1, 2)
        zeros = torch.zeros_like(self.shift)
        return functional.batch_norm(x, zeros, zeros + 2, self.gain, self.shift).transpose(1, 2)


@piece("parameters in containers", "odd")
class Containers(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.weights = nn.ParameterDict({"a": raw(d, d), "b": raw(d)})
        self.layers = nn.ModuleDict({"x": nn.Sequential(nn.Linear(d, d), nn.Dropout(0.2)), "y": nn.Linear(d, d)})

    def forward(self, h):
        h = self.layers["x"](h) @ self.weights["a"] + self.weights["b"]
        return self.layers["y"](h.tanh())


@piece("vectorised over positions", "odd", strict=False)
class Vectorised(nn.Module):
    """torch.func.vmap of a layer inside the model."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Linear(d, d)

    def forward(self, h):
        return torch.func.vmap(self.layer, in_dims=1, out_dims=1)(h).tanh()


@piece("checkpointed", "odd", strict=False)
class Checkpointed(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(d, d), nn.Tanh())

    def forward(self, h):
        return checkpoint(self.layer, h, use_reentrant=False)


@piece("packed sequences", "odd", strict=False)
class Packed(nn.Module):
    """A recurrent layer over sequences of different lengths."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.GRU(d, d, batch_first=True)

    def forward(self, h):
        lengths = (h[..., 0].detach() > 0).sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(h, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=h.shape[1])[0]


@piece("hard experts", "odd", strict=False)
class HardExperts(nn.Module):
    """Every position goes through the one expert that it chooses, expert by expert."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.router, self.experts = nn.Linear(d, 2), nn.ModuleList([nn.Linear(d, d) for _ in range(2)])

    def forward(self, h):
        gates, out = self.router(h).softmax(-1), torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            chosen = gates.argmax(-1) == i
            out[chosen] = gates[..., i][chosen][:, None] * expert(h[chosen]).to(h.dtype)
        return out


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).flatten(0, 1).sum(0)


@piece("custom function", "odd", strict=False)
class CustomFunction(nn.Module):
    """An autograd.Function that uses a parameter where nothing sees it."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.scale = nn.Linear(d, d), raw(d)

    def forward(self, h):
        return self.layer(_Scale.apply(h, self.scale)).tanh()


@piece("old weight norm", "odd")
class OldWeightNorm(nn.Module):
    """torch's weight norm by hooks."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer = nn.utils.weight_norm(nn.Linear(d, d))

    def forward(self, h):
        return self.layer(h).tanh()
