"""torch's recurrent layers, written out step by step so that every use of their weights can be seen.

The fused calls torch.lstm, torch.gru, torch.rnn_tanh and torch.rnn_relu hide a loop over time and layers; these are
the same equations (see the documentation of torch.nn.LSTM and its siblings) as calls that have rules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from tangentlens.errors import UnsupportedModelError

# (what the input adds at one step, state, recurrent weight, recurrent bias) -> next state; the first entry of a
# state is the output
_Cell = Callable[[Tensor, tuple[Tensor, ...], Tensor, Tensor | None], tuple[Tensor, ...]]


def _lstm_cell(driven: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    hidden, cell = state
    entry, forget, candidate, exit_ = (driven + linear(hidden, weight, bias)).chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(candidate)
    return torch.sigmoid(exit_) * torch.tanh(cell), cell


def _gru_cell(driven: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    (hidden,) = state
    reset_in, update_in, new_in = driven.chunk(3, dim=-1)
    reset_h, update_h, new_h = linear(hidden, weight, bias).chunk(3, dim=-1)
    update = torch.sigmoid(update_in + update_h)
    new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_h) * new_h)
    return (new + update * (hidden - new),)


def _elman_cell(activation: Callable[[Tensor], Tensor]) -> _Cell:
    def cell(driven: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
        return (activation(driven + linear(state[0], weight, bias)),)

    return cell


def _scan(
    cell: _Cell, steps: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction: steps (T, N, D) -> outputs (T, N, H) and the last state."""
    input_weight, recurrent_weight, *biases = weights
    input_bias, recurrent_bias = biases or (None, None)
    driven = linear(steps, input_weight, input_bias)
    outputs = []
    for step in driven.unbind(0):
        state = cell(step, state, recurrent_weight, recurrent_bias)
        outputs.append(state[0])
    return torch.stack(outputs), state


def _layers(cell: _Cell, states: int) -> Callable[..., tuple[Tensor, ...]]:
    """The whole call of a recurrent layer with `states` tensors of state."""

    def run(
        inputs: Tensor,
        initial: Any,
        weights: Any,
        has_biases: Any,
        num_layers: int,
        dropout: float,
        training: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, ...]:
        if not isinstance(has_biases, bool):
            raise UnsupportedModelError(
                "a recurrent layer is called on a packed sequence",
                where="torch.nn.utils.rnn.PackedSequence",
                remedy="Give the padded tensor and select the outputs at the last real positions.",
            )
        given = initial if isinstance(initial, tuple | list) else (initial,)
        steps = inputs.transpose(0, 1) if batch_first else inputs
        per_scan = 4 if has_biases else 2
        directions = 2 if bidirectional else 1
        last: list[tuple[Tensor, ...]] = []
        for layer in range(num_layers):
            if layer and dropout and training:
                steps = torch.nn.functional.dropout(steps, dropout)
            outputs = []
            for direction in range(directions):
                scan = layer * directions + direction
                state = tuple(g[scan] for g in given[:states])
                own = weights[scan * per_scan : (scan + 1) * per_scan]
                forwards = steps if direction == 0 else steps.flip(0)
                found, state = _scan(cell, forwards, state, own)
                outputs.append(found if direction == 0 else found.flip(0))
                last.append(state)
            steps = torch.cat(outputs, dim=-1)
        final = steps.transpose(0, 1) if batch_first else steps
        return (final, *(torch.stack([state[i] for state in last]) for i in range(states)))

    return run


WRITTEN_OUT: Mapping[str, Callable[..., tuple[Tensor, ...]]] = {
    "lstm": _layers(_lstm_cell, 2),
    "gru": _layers(_gru_cell, 1),
    "rnn_tanh": _layers(_elman_cell(torch.tanh), 1),
    "rnn_relu": _layers(_elman_cell(torch.relu), 1),
}
