"""Recurrent layers and cells step by step equal torch's fused calls."""

import pytest
import torch
from torch import nn

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.recurrent import RECURRENT

LAYERS = {
    "lstm": (nn.LSTM, {}),
    "lstm, two layers, both directions": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "lstm, projected": (nn.LSTM, {"proj_size": 2}),
    "lstm, no bias, batch first": (nn.LSTM, {"bias": False, "batch_first": True}),
    "gru, two layers, both directions": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "rnn_tanh": (nn.RNN, {}),
    "rnn_relu, three layers": (nn.RNN, {"nonlinearity": "relu", "num_layers": 3}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name):
    make, options = LAYERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = make(3, 4, dtype=torch.float64, **options)
        inputs = torch.randn(5, 6, 3, dtype=torch.float64)
        _, zero = layer(inputs)
        states = [torch.randn_like(state) for state in (zero if isinstance(zero, tuple) else (zero,))]
    initial = tuple(states) if isinstance(zero, tuple) else states[0]
    output, last = layer(inputs, initial)
    call = (layer._flat_weights, layer.bias, layer.num_layers, 0.0, False, layer.bidirectional, layer.batch_first)
    found = RECURRENT[name.split(",")[0]](inputs, initial, *call)
    for ours, theirs in zip(found, (output, *(last if isinstance(last, tuple) else (last,))), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell(make):
    name = {nn.LSTMCell: "lstm_cell", nn.GRUCell: "gru_cell", nn.RNNCell: "rnn_tanh_cell"}[make]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cell, inputs = make(3, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
        state = torch.randn(6, 4, dtype=torch.float64)
    state = (state, state.flip(0)) if make is nn.LSTMCell else state
    found = RECURRENT[name](inputs, state, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    torch.testing.assert_close(found, cell(inputs, state), rtol=1e-12, atol=1e-12)


def test_a_packed_sequence_is_refused():
    with pytest.raises(UnsupportedModelError, match="packed sequence"):
        RECURRENT["gru"](torch.zeros(4, 3), torch.ones(2), torch.zeros(1, 2, 4), [torch.zeros(12, 3)], True, 1, 0.0)
