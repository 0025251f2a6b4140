"""One forward pass, with every use of a parameter recorded as it happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.tracing.interception import Interception, calling_line, shapes_of, tensors_in
from tangentlens.kernels.tracing.rules import RULES, Call, Use
from tangentlens.models.functional import FunctionalModel, Inputs

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
    parametric: dict[int, Tensor] = {id(p): p for p in parameters.values()}
    uses: list[RecordedUse] = []
    versions: list[tuple[Tensor, int, RecordedUse]] = []
    unexplained: list[Unexplained] = []

    def is_parametric(value: Any) -> bool:
        return isinstance(value, Tensor) and id(value) in parametric

    def visit(position: int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[[], Any]) -> Any:
        involved = [tensor for tensor in tensors_in((args, kwargs)) if is_parametric(tensor)]
        if not involved:
            result = call()
            carries_batch(position, name, result)
            return result
        if name in _OVERWRITES_OPERAND:
            args_before = (args[0].detach().clone(), *args[1:])
        else:
            args_before = args
        result = call()
        has_batch = carries_batch(position, name, result)
        results = [tensor for tensor in tensors_in(result) if tensor.requires_grad]
        if not results:
            return result
        if not has_batch:
            parametric.update((id(tensor), tensor) for tensor in results)
            return result
        rule = RULES.get(name)
        real = isinstance(result, Tensor) and not any(t.is_complex() for t in tensors_in((args, kwargs, result)))
        seen = Call(args_before, kwargs, result, is_parametric) if real else None
        found = rule(seen) if rule and seen else None
        place = calling_line()
        if found is None:
            unexplained.extend(Unexplained(value, name, place) for value in involved)
            return result
        edge = get_gradient_edge(result)
        for use in found:
            operand = None if use.operand is None else use.operand.detach()
            kept = result.detach() if keep_results else None
            recorded = RecordedUse(replace(use, operand=operand), edge, result.shape, position, name, place, kept)
            uses.append(recorded)
            if use.operand is not None:
                versions.append((use.operand, use.operand._version, recorded))
        return result

    with torch.enable_grad(), Interception(visit, _WHOLE) as interception:
        output = model({}, inputs)
    for operand, version, recorded in versions:
        if operand._version != version:
            raise UnsupportedModelError(
                f"an activation that {recorded.name} uses is overwritten in place later in the forward pass",
                where=recorded.place,
                remedy="Replace the in-place operation on it by one that makes a new tensor.",
            )
    return Recording(output, tuple(uses), tuple(unexplained), (), interception.calls)
