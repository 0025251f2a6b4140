"""Every torch call is seen, in order, with its line, and nothing that is computed changes."""

import torch
from torch.nn import functional

from tangentlens.kernels.tracing.interception import Interception, calling_line, shapes_of, tensors_in


def seen_calls(work, whole=frozenset()):
    calls = []

    def visit(position, name, _args, _kwargs, call):
        calls.append((position, name, calling_line()))
        return call()

    with Interception(visit, whole) as interception:
        result = work()
    return result, calls, interception.calls


def test_calls_are_numbered_and_placed():
    x = torch.arange(6.0).reshape(2, 3)
    result, calls, made = seen_calls(lambda: torch.tanh(x) + 1)
    assert result.equal(torch.tanh(x) + 1)
    assert [(position, name) for position, name, _ in calls] == [(0, "tanh"), (1, "add")]
    assert made == 2
    assert all(place.startswith(f"{__file__}:") for _, _, place in calls)


def test_functions_of_python_are_entered_unless_they_have_a_rule():
    x = torch.ones(2, 3)
    _, entered, _ = seen_calls(lambda: functional.softsign(x))
    assert "abs" in [name for _, name, _ in entered]
    _, whole, _ = seen_calls(lambda: functional.softsign(x), frozenset({"softsign"}))
    assert [name for _, name, _ in whole] == ["softsign"]


def test_fused_recurrent_calls_are_written_out():
    cell, x = torch.nn.GRUCell(3, 4), torch.ones(2, 3)
    result, calls, _ = seen_calls(lambda: cell(x))
    assert "linear" in [name for _, name, _ in calls]
    torch.testing.assert_close(result, cell(x))


def test_nested_tensors():
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    assert list(tensors_in((a, [b, 5], {"key": (c,)}))) == [a, b, c]
    assert shapes_of((a, [b])) == (torch.Size([1]), torch.Size([2]))
