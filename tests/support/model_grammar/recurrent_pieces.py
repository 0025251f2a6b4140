"""Recurrent layers and cells."""

import torch
from torch import nn

from tests.support.model_grammar.registry import piece


def _recurrent(name, kind, **fixed):
    @piece(name, "recurrent")
    class Recurrent(nn.Module):
        def __init__(self, draw, d, T):
            super().__init__()
            self.first, both = draw.random() < 0.6, draw.random() < 0.3
            options = {"bidirectional": both, "num_layers": draw.choice([1, 1, 2]), "bias": draw.random() < 0.85}
            if "proj_size" in fixed:
                options |= {"proj_size": d // 2 if both else d}
                hidden = d + 1
            else:
                hidden = d // 2 if both else d
            if kind is nn.RNN:
                options |= {"nonlinearity": draw.choice(["tanh", "relu"])}
            self.layer = kind(d, hidden, batch_first=self.first, **options)
            self.flat_head = nn.Linear(d, d) if draw.random() < 0.3 else None

        def forward(self, h):
            x = h if self.first else h.transpose(0, 1)
            y, _ = self.layer(x)
            if self.flat_head is not None:
                y = self.flat_head(y.reshape(-1, y.shape[2])).view(y.shape)
            return y if self.first else y.transpose(0, 1)

    return Recurrent


_recurrent("nn.RNN", nn.RNN)
_recurrent("nn.LSTM", nn.LSTM)
_recurrent("nn.LSTM proj_size", nn.LSTM, proj_size=True)
_recurrent("nn.GRU", nn.GRU)


@piece("cells in a loop", "recurrent")
class Cells(nn.Module):
    def __init__(self, draw, d, T):
        super().__init__()
        self.cell = draw.choice([nn.RNNCell, nn.GRUCell, nn.LSTMCell])(d, d)

    def forward(self, h):
        state, outputs = None, []
        for step in h.unbind(1):
            state = self.cell(step, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)


@piece("final state", "recurrent")
class FinalState(nn.Module):
    """A GRU whose last state is added everywhere, with a learned first state."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.layer, self.start = nn.GRU(d, d, batch_first=True), nn.Parameter(torch.randn(1, 1, d))

    def forward(self, h):
        _, last = self.layer(h, self.start.expand(-1, len(h), -1).contiguous())
        return h + last[0][:, None]


@piece("linear recurrence", "recurrent")
class LinearRecurrence(nn.Module):
    """A diagonal state-space layer: decays by parameter, inputs by a linear layer."""

    def __init__(self, draw, d, T):
        super().__init__()
        self.decay, self.enter = nn.Parameter(torch.randn(d)), nn.Linear(d, d)

    def forward(self, h):
        decay, state, outputs = torch.sigmoid(self.decay), torch.zeros_like(h[:, 0]), []
        for step in self.enter(h).unbind(1):
            state = decay * state + step
            outputs.append(state)
        return torch.stack(outputs, 1)
