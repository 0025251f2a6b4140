"""The sequence of calls of a forward pass, which must be the same for every batch, and which calls carry the batch."""

from collections.abc import Sequence
from typing import Any

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.interception import calling_line, shapes_of
from tangentlens.kernels.tracing.recording import CarriesBatch, Recording

FEW, MORE = 3, 4  # batch sizes of the pilots; coprime, so that no other axis grows like the batch


def following(calls: Sequence[tuple[str, bool]]) -> CarriesBatch:
    """Looks up whether a call's result has a batch axis, and refuses a forward pass that makes other calls."""

    def carries_batch(position: int, name: str, _result: Any) -> bool:
        if position < len(calls) and calls[position][0] == name:
            return calls[position][1]
        raise other_way(name, "calls {} where it did not before")

    return carries_batch


def other_way(name: str, what: str) -> UnsupportedModelError:
    """The error for a forward pass that makes other calls than the pilot's."""
    return UnsupportedModelError(
        f"the forward pass takes another way on other examples (it {what.format(name)})",
        where=calling_line(),
        remedy="Control flow may not depend on the values of the data; analyse such examples one batch at a time.",
    )


def growth(few: Recording, calls: list[tuple[str, bool]]) -> CarriesBatch:
    """Finds whether a call's result grows with the batch, by its shapes in a smaller one; fills `calls`."""

    def carries_batch(position: int, name: str, result: Any) -> bool:
        if position >= len(few.calls) or few.calls[position][0] != name:
            raise _other_calls(name)
        calls.append((name, shapes_of(result) != few.calls[position][1]))
        return calls[-1][1]

    return carries_batch


def check_length(few: Recording, calls: Sequence[tuple[str, bool]]) -> None:
    """Raise UnsupportedModelError where a forward pass ended before the calls of the smaller batch did."""
    if len(calls) < len(few.calls):
        raise _other_calls(few.calls[len(calls)][0])


def _other_calls(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the forward pass makes other calls for {MORE} examples than for {FEW}",
        where=name,
        remedy="Control flow may depend neither on the values of the data nor on the batch size.",
    )
