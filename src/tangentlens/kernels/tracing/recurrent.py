"""torch's recurrent layers, written out step by step so that every use of their weights can be seen.

The fused calls torch.lstm, torch.gru, torch.rnn_tanh and torch.rnn_relu hide a loop over time and layers, and those of
their cells (torch.lstm_cell and its siblings) one step. These are the same equations (see the documentation of
torch.nn.LSTM and its siblings) as calls that have rules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from tangentlens.errors import UnsupportedModelError

# (what the input adds at one step, state, the weights on the state) -> next state; its first entry is the output
_Cell = Callable[[Tensor, tuple[Tensor, ...], "_Recurrent"], tuple[Tensor, ...]]


class _Recurrent(NamedTuple):
    """The weights that act on the state: a matrix, a bias, and what an LSTM's output is projected by."""

    weight: Tensor
    bias: Tensor | None = None
    projection: Tensor | None = None


def _lstm_cell(driven: Tensor, state: tuple[Tensor, ...], own: _Recurrent) -> tuple[Tensor, ...]:
    hidden, cell = state
    entry, forget, candidate, exit_ = (driven + linear(hidden, own.weight, own.bias)).chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(candidate)
    hidden = torch.sigmoid(exit_) * torch.tanh(cell)
    return hidden if own.projection is None else linear(hidden, own.projection), cell


def _gru_cell(driven: Tensor, state: tuple[Tensor, ...], own: _Recurrent) -> tuple[Tensor, ...]:
    (hidden,) = state
    reset_in, update_in, new_in = driven.chunk(3, dim=-1)
    reset_h, update_h, new_h = linear(hidden, own.weight, own.bias).chunk(3, dim=-1)
    update = torch.sigmoid(update_in + update_h)
    new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_h) * new_h)
    return (new + update * (hidden - new),)


def _elman_cell(activation: Callable[[Tensor], Tensor]) -> _Cell:
    def cell(driven: Tensor, state: tuple[Tensor, ...], own: _Recurrent) -> tuple[Tensor, ...]:
        return (activation(driven + linear(state[0], own.weight, own.bias)),)

    return cell


def _scan(
    cell: _Cell, steps: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor], biased: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction: steps (T, N, D) -> outputs (T, N, H) and the last state.

    Args:
        weights: input and recurrent matrix, the two biases if there are any, and an LSTM's projection if it has one.
    """
    input_bias, recurrent_bias = weights[2:4] if biased else (None, None)
    projection = weights[-1] if len(weights) % 2 else None
    own = _Recurrent(weights[1], recurrent_bias, projection)
    outputs = []
    for step in linear(steps, weights[0], input_bias).unbind(0):
        state = cell(step, state, own)
        outputs.append(state[0])
    return torch.stack(outputs), state


class _Options(NamedTuple):
    """The arguments behind the weights in a call of a recurrent layer, in torch's order."""

    has_biases: Any
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1


def _layers(cell: _Cell, states: int) -> Callable[..., tuple[Tensor, ...]]:
    """The whole call of a recurrent layer with `states` tensors of state."""

    def run(inputs: Tensor, initial: Any, weights: Any, *options: Any, **named: Any) -> tuple[Tensor, ...]:
        if options and not isinstance(options[0], bool):
            raise UnsupportedModelError(
                "a recurrent layer is called on a packed sequence",
                where="torch.nn.utils.rnn.PackedSequence",
                remedy="Give the padded tensor and select the outputs at the last real positions.",
            )
        chosen = _Options(*options, **named)
        begin = initial if isinstance(initial, tuple | list) else (initial,)
        steps = inputs.transpose(0, 1) if chosen.batch_first else inputs
        per_layer = len(weights) // chosen.num_layers
        last: list[tuple[Tensor, ...]] = []
        for layer in range(chosen.num_layers):
            if layer and chosen.dropout and chosen.train:
                steps = torch.nn.functional.dropout(steps, chosen.dropout)
            own = weights[layer * per_layer : (layer + 1) * per_layer]
            scans = range(layer * chosen.directions, (layer + 1) * chosen.directions)
            steps, after = _layer(cell, steps, [tuple(s[scan] for s in begin[:states]) for scan in scans], own, chosen)
            last += after
        final = steps.transpose(0, 1) if chosen.batch_first else steps
        return (final, *(torch.stack([state[i] for state in last]) for i in range(states)))

    return run


def _layer(
    cell: _Cell, steps: Tensor, begin: Sequence[tuple[Tensor, ...]], weights: Sequence[Tensor], options: _Options
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """One layer in every direction: outputs (T, N, directions H), and the last state of each direction."""
    per_scan = len(weights) // options.directions
    outputs, last = [], []
    for direction, state in enumerate(begin):
        own = weights[direction * per_scan : (direction + 1) * per_scan]
        forwards = steps if direction == 0 else steps.flip(0)
        scanned, state = _scan(cell, forwards, state, own, options.has_biases)
        outputs.append(scanned if direction == 0 else scanned.flip(0))
        last.append(state)
    return torch.cat(outputs, dim=-1), last


def _step(cell: _Cell, states: int) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    """The whole call of a recurrent cell with `states` tensors of state."""

    def run(
        inputs: Tensor,
        state: Any,
        input_weight: Tensor,
        recurrent_weight: Tensor,
        input_bias: Tensor | None = None,
        recurrent_bias: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        given = tuple(state) if isinstance(state, tuple | list) else (state,)
        own = _Recurrent(recurrent_weight, recurrent_bias)
        after = cell(linear(inputs, input_weight, input_bias), given, own)
        return after if states > 1 else after[0]

    return run


RECURRENT: Mapping[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "lstm": _layers(_lstm_cell, 2),
    "gru": _layers(_gru_cell, 1),
    "rnn_tanh": _layers(_elman_cell(torch.tanh), 1),
    "rnn_relu": _layers(_elman_cell(torch.relu), 1),
    "lstm_cell": _step(_lstm_cell, 2),
    "gru_cell": _step(_gru_cell, 1),
    "rnn_tanh_cell": _step(_elman_cell(torch.tanh), 1),
    "rnn_relu_cell": _step(_elman_cell(torch.relu), 1),
}
