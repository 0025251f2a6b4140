"""One forward pass, with every use of a parameter recorded as it happens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.interception import Interception, calling_line, shapes_of, tensors_in
from tangentlens.kernels.tracing.rules import RULES, Call, Use
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs

_WHOLE = frozenset(RULES)
_OVERWRITES_OPERAND = frozenset({"mul_", "__imul__", "div_", "__itruediv__"})


@dataclass(frozen=True)
class RecordedUse:
    """A use with the place in the autograd graph where its gradient arrives.

    Attributes:
        use: operand and labels; the operand is detached.
        edge: the output y in the graph, also where y was later overwritten in place.
        shape: shape of y.
        call: position of the call in the sequence of all calls.
        name: function of torch.
        place: file:line in the user's code.
        result: y itself, detached, where the recorder was asked to keep results.
    """

    use: Use
    edge: GradientEdge
    shape: torch.Size
    call: int
    name: str
    place: str
    result: Tensor | None = None


@dataclass(frozen=True)
class Unexplained:
    """A call that mixes a parametric tensor with data and has no rule."""

    value: Tensor
    name: str
    place: str


@dataclass(frozen=True)
class Recording:
    """What one forward pass did.

    Attributes:
        output: (N, C), with its graph.
        uses: in order of the calls.
        unexplained: calls without a rule.
        calls: (function name, shapes returned) of every call, where the recorder was asked for them.
        made: number of calls.
    """

    output: Tensor
    uses: tuple[RecordedUse, ...]
    unexplained: tuple[Unexplained, ...]
    calls: tuple[tuple[str, tuple[torch.Size, ...]], ...]
    made: int


# (position in the sequence of calls, function name, result) -> whether the result has a batch axis
CarriesBatch = Callable[[int, str, Any], bool]


def record_calls(model: FunctionalModel, inputs: Inputs) -> Recording:
    """Names and shapes of every call of one forward pass, and the output."""
    calls: list[tuple[str, tuple[torch.Size, ...]]] = []

    def visit(_position: int, name: str, _args: Any, _kwargs: Any, call: Callable[[], Any]) -> Any:
        result = call()
        calls.append((name, shapes_of(result)))
        return result

    with torch.enable_grad(), Interception(visit, _WHOLE):
        output = model({}, inputs)
    return Recording(output, (), (), tuple(calls), len(calls))


def watch_calls(
    model: FunctionalModel, parameters: Mapping[str, Tensor], inputs: Inputs, carries_batch: CarriesBatch
) -> tuple[Tensor, int]:
    """Outputs of one forward pass, each of its calls shown to `carries_batch`, and the number of calls."""

    def visit(position: int, name: str, _args: Any, _kwargs: Any, call: Callable[[], Any]) -> Any:
        result = call()
        carries_batch(position, name, result)
        return result

    with Interception(visit, _WHOLE) as interception:
        output = model(parameters, inputs)
    return output, interception.calls


def record_uses(
    model: FunctionalModel,
    inputs: Inputs,
    parameters: Mapping[str, Tensor],
    carries_batch: CarriesBatch,
    *,
    keep_results: bool = False,
) -> Recording:
    """Run the model and record every use of the given parameters.

    A call whose arguments include a parametric tensor gives another parametric tensor when its result carries no
    batch axis (a reshape, a slice, W.T @ W, 1 + w), and is a use when it does.

    Raises:
        UnsupportedModelError: an operand was overwritten in place after its use.
    """
    recorder = _Recorder(parameters.values(), carries_batch, keep_results)
    with torch.enable_grad(), Interception(recorder.visit, _WHOLE) as interception:
        output = model({}, inputs)
    recorder.require_operands_unchanged()
    return Recording(output, tuple(recorder.uses), tuple(recorder.unexplained), (), interception.calls)


@final
class _Recorder:
    """Sorts the calls of a forward pass: those that make parametric tensors, and those that use them on data."""

    def __init__(self, parameters: Iterable[Tensor], carries_batch: CarriesBatch, keep_results: bool) -> None:
        self.uses: list[RecordedUse] = []
        self.unexplained: list[Unexplained] = []
        self._parametric: dict[int, Tensor] = {id(p): p for p in parameters}
        self._versions: list[tuple[Tensor, int, RecordedUse]] = []
        self._carries_batch, self._keep_results = carries_batch, keep_results

    def visit(
        self, position: int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[[], Any]
    ) -> Any:
        """Make one call of the forward pass and record what it does with parametric tensors."""
        involved = [tensor for tensor in tensors_in((args, kwargs)) if self._is_parametric(tensor)]
        if involved and name in _OVERWRITES_OPERAND:
            args = (args[0].detach().clone(), *args[1:])  # as they were before the call
        result = call()
        has_batch = self._carries_batch(position, name, result)
        results = [tensor for tensor in tensors_in(result) if tensor.requires_grad] if involved else []
        if not has_batch:
            self._parametric.update((id(tensor), tensor) for tensor in results)
        elif results:
            seen = Call(args, kwargs, result, self._is_parametric) if isinstance(result, Tensor) else None
            self._record(position, name, seen, involved)
        return result

    def _is_parametric(self, value: Any) -> bool:
        return isinstance(value, Tensor) and id(value) in self._parametric

    def _record(self, position: int, name: str, call: Call | None, involved: Sequence[Tensor]) -> None:
        place = calling_line()
        uses = None if call is None else _explained(name, call)
        if call is None or uses is None:
            self.unexplained.extend(Unexplained(value, name, place) for value in involved)
            return
        edge, kept = get_gradient_edge(call.result), call.result.detach() if self._keep_results else None
        for use in uses:
            detached = replace(use, operand=None if use.operand is None else use.operand.detach())
            self.uses.append(RecordedUse(detached, edge, call.result.shape, position, name, place, kept))
            if use.operand is not None:
                self._versions.append((use.operand, use.operand._version, self.uses[-1]))

    def require_operands_unchanged(self) -> None:
        """Raise UnsupportedModelError where an operand was overwritten in place after its use."""
        for operand, version, recorded in self._versions:
            if operand._version != version:
                raise UnsupportedModelError(
                    f"an activation that {recorded.name} uses is overwritten in place later in the forward pass",
                    where=recorded.place,
                    remedy="Replace the in-place operation on it by one that makes a new tensor.",
                )


def _explained(name: str, call: Call) -> Sequence[Use] | None:
    """The uses that a rule finds in a call; None without a rule, or with complex numbers."""
    rule = RULES.get(name)
    real = not any(tensor.is_complex() for tensor in tensors_in((call.args, call.kwargs, call.result)))
    return rule(call) if rule and real else None
