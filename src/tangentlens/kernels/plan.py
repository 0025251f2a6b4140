"""Decide, on a handful of examples, how the kernel of each parameter will be computed, and prove it right there.

Two forward passes with 5 and 7 examples tell which results carry the batch (their shapes differ). One backward pass
of random cotangents, given to some of the examples only, then checks every factored form against automatic
differentiation: the gradient of each parameter must come out of the factors, and must vanish on the examples that
were given none. A parameter that fails is differentiated as it is, and the plan says so.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import torch
from torch import Tensor

from tangentlens.errors import InvalidInputError, TangentlensError, UnsupportedModelError
from tangentlens.kernels.differentiation import vectorised_grad
from tangentlens.kernels.factors import Extents, Layout, canonical_order, materialise_sum, part
from tangentlens.kernels.interception import calling_line
from tangentlens.kernels.recording import CarriesBatch, RecordedUse, Recording, record_calls, record_uses
from tangentlens.models.checks import check_deterministic, check_finite, check_independent, check_modes
from tangentlens.models.functional import FunctionalModel, Inputs, batch_size, take

_log = logging.getLogger(__name__)
_FEW, _MORE = 5, 7  # batch sizes of the two passes; coprime, so that no other axis grows like the batch
# far above rounding, some layers round to float32 inside a float64 model; a wrong form errs by order one
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-3}


class Strategy(Enum):
    """How the kernel of one parameter is computed."""

    FACTORED = "factored"  # from the factors of its uses
    PULLED_BACK = "pulled back"  # dV from the factors, then through the map from the parameter to V
    DIFFERENTIATED = "differentiated"  # per-example gradients by automatic differentiation
    UNUSED = "unused"  # no output depends on it


@dataclass(frozen=True)
class Frame:
    """Uses of one parametric tensor V (or of transposes of it): their gradients add up in one set of axes.

    Attributes:
        value: V in the pilot's graph, for pulling back.
        uses: indices into the sequence of recorded uses.
    """

    value: Tensor
    uses: tuple[int, ...]


@dataclass(frozen=True)
class ParameterPlan:
    """How the kernel of one parameter is computed, and why."""

    name: str
    strategy: Strategy
    frames: tuple[Frame, ...]
    reason: str


@dataclass(frozen=True)
class Plan:
    """The structure of a model as its forward pass shows it.

    Attributes:
        parameters: name -> plan.
        layouts: for each recorded use, where the batch is in its result.
        calls: (function name, carries a batch axis) of every call, to recognise a forward pass that goes another way.
        outputs: C.
        use_sizes: for each recorded use, entries of its result and of its operand for one example.
        extents: for each recorded use, the lengths of its factors' axes; None where the batch was not found.
        bytes_per_example: memory of all results of one example's forward pass, an upper bound for its graph.
    """

    parameters: Mapping[str, ParameterPlan]
    layouts: tuple[Layout | None, ...]
    calls: tuple[tuple[str, bool], ...]
    outputs: int
    use_sizes: tuple[tuple[int, int], ...]
    extents: tuple[Extents | None, ...]
    bytes_per_example: int

    def record(self, model: FunctionalModel, inputs: Inputs) -> Recording:
        """Record the uses in another batch; the forward pass must take the same way as in the pilot.

        Raises:
            UnsupportedModelError: it does not (control flow that depends on the data).
        """
        return record_uses(model, inputs, model.trainable, _following(self.calls))


def make_plan(model: FunctionalModel, inputs: Inputs) -> Plan:
    """Find every use of every trainable parameter and check the factored forms on a few examples.

    Raises:
        UnsupportedModelError: the forward pass depends on the batch size or on the data's values.
    """
    total = batch_size(inputs)
    rows = torch.linspace(0, total - 1, _MORE).round().long()  # repeats examples where there are fewer
    few, more = take(inputs, rows[:_FEW]), take(inputs, rows)
    check_modes(model.module)
    with torch.random.fork_rng(devices=[]):  # a model that draws random numbers is refused, and leaves no trace
        again = _call(model, few).output  # the first call also fills caches that a model makes when it first runs
        first, second = _call(model, few), _call(model, more)
    check_finite(model, more, second.output)
    check_deterministic(model, few, again, first.output)
    check_independent(model, few, more, first.output, second.output)
    calls = _calls_with_batch(first, second)
    pilot = record_uses(model, more, model.trainable, _following(calls))
    given = torch.tensor([True, False, True, True, False, False, True])
    gradients, expected = _probe(model, pilot, given)
    layouts = tuple(
        _find_layout(use, first.calls[use.call][1], gradient, given)
        for use, gradient in zip(pilot.uses, gradients, strict=True)
    )
    owners = _Owners(model.trainable)
    plans = {
        name: _plan_parameter(name, parameter, pilot, owners, gradients, layouts, expected[name])
        for name, parameter in model.trainable.items()
    }
    for plan in plans.values():
        level = logging.INFO if plan.strategy in (Strategy.PULLED_BACK, Strategy.DIFFERENTIATED) else logging.DEBUG
        _log.log(level, "%s: %s (%s)", plan.name, plan.strategy.value, plan.reason)
    return Plan(
        plans,
        layouts,
        calls,
        pilot.output.shape[1],
        tuple(
            (math.prod(use.shape) // _MORE, 0 if use.use.operand is None else use.use.operand.numel() // _MORE)
            for use in pilot.uses
        ),
        tuple(
            None if layout is None else part(use.use, gradient[None], layout, _MORE).extents
            for use, gradient, layout in zip(pilot.uses, gradients, layouts, strict=True)
        ),
        sum(math.prod(shape) for _, shapes in first.calls for shape in shapes) * pilot.output.element_size() // _FEW,
    )


def _call(model: FunctionalModel, inputs: Inputs) -> Recording:
    """The first calls of the user's model: what goes wrong in them is about the inputs."""
    try:
        return record_calls(model, inputs)
    except TangentlensError:
        raise
    except Exception as error:
        raise InvalidInputError(
            f"the model cannot be called on these inputs: {type(error).__name__}: {error}",
            where=type(model.module).__name__,
            remedy="Give a tensor, a tuple or a dict of tensors with the batch axis first, in the dtype and on the "
            "device that model(*inputs) or model(**inputs) expects.",
        ) from error


def _following(calls: Sequence[tuple[str, bool]]) -> CarriesBatch:
    """Looks up whether a call's result has a batch axis, and refuses a forward pass that makes other calls."""

    def carries_batch(position: int, name: str) -> bool:
        if position < len(calls) and calls[position][0] == name:
            return calls[position][1]
        raise UnsupportedModelError(
            f"the forward pass takes another way on other examples (it calls {name} where it did not before)",
            where=calling_line(),
            remedy="Control flow may not depend on the values of the data; analyse such examples one batch at a time.",
        )

    return carries_batch


def _calls_with_batch(few: Recording, more: Recording) -> tuple[tuple[str, bool], ...]:
    """Name of each call, and whether its result grows with the batch."""
    if [name for name, _ in few.calls] != [name for name, _ in more.calls]:
        raise UnsupportedModelError(
            f"the forward pass makes other calls for {_MORE} examples than for {_FEW}",
            where=next((a for (a, _), (b, _) in zip(few.calls, more.calls, strict=False) if a != b), ""),
            remedy="Control flow may depend neither on the values of the data nor on the batch size.",
        )
    return tuple((name, a != b) for (name, a), (_, b) in zip(few.calls, more.calls, strict=True))


def _probe(model: FunctionalModel, pilot: Recording, given: Tensor) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    """Gradients at every use and parameter of a random combination of the given examples' outputs."""
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(pilot.output.shape, generator=generator, dtype=torch.float64)
    cotangent = (cotangent * given[:, None]).to(pilot.output)
    sought: Any = [*(use.edge for use in pilot.uses), *model.trainable.values()]
    found: Sequence[Tensor | None] = (None,) * len(sought)
    if pilot.output.requires_grad:
        found = torch.autograd.grad(pilot.output, sought, cotangent, retain_graph=True, allow_unused=True)
    at_uses = [
        pilot.output.new_zeros(use.shape) if gradient is None else gradient
        for use, gradient in zip(pilot.uses, found, strict=False)
    ]
    return at_uses, dict(zip(model.trainable, found[len(pilot.uses) :], strict=True))


def _find_layout(use: RecordedUse, shapes: tuple[torch.Size, ...], gradient: Tensor, given: Tensor) -> Layout | None:
    """The axis of y that grows with the batch, with the order of what is merged into it; None if none fits."""
    small = shapes[0]
    grown = [axis for axis, (a, b) in enumerate(zip(small, use.shape, strict=True)) if a != b]
    if len(grown) != 1 or use.shape[grown[0]] % _MORE or small[grown[0]] * _MORE != use.shape[grown[0]] * _FEW:
        return None
    axis, per_example = grown[0], use.shape[grown[0]] // _MORE
    for example_major in (True, False):
        layout = Layout(axis, per_example, example_major)
        sizes = (_MORE, per_example) if example_major else (per_example, _MORE)
        by_example = gradient.movedim(axis, 0).unflatten(0, sizes).movedim(0 if example_major else 1, 0)
        if not bool(by_example[~given].any()):
            return layout
    return None


def _plan_parameter(
    name: str,
    parameter: Tensor,
    pilot: Recording,
    owners: "_Owners",
    gradients: Sequence[Tensor],
    layouts: Sequence[Layout | None],
    expected: Tensor | None,
) -> ParameterPlan:
    if expected is None:
        return ParameterPlan(name, Strategy.UNUSED, (), "no output depends on it")
    for call in pilot.unexplained:
        if name in owners.of(call.value):
            return ParameterPlan(name, Strategy.DIFFERENTIATED, (), f"no rule for {call.name} at {call.place}")
    frames = _frames(name, parameter, pilot.uses, owners)
    where = [i for frame in frames for i in frame.uses]
    unknown = [pilot.uses[i] for i in where if layouts[i] is None]
    if unknown:
        reason = f"no axis of the result of {unknown[0].name} at {unknown[0].place} is the batch"
        return ParameterPlan(name, Strategy.DIFFERENTIATED, (), reason)
    error = _error(parameter, frames, pilot, gradients, layouts, expected)
    if not error <= _TOLERANCE.get(parameter.dtype, 2e-2):
        reason = f"its uses explain the gradient only to {error:.1e}"
        return ParameterPlan(name, Strategy.DIFFERENTIATED, (), reason)
    if _isometric(parameter, frames):
        calls = ", ".join(dict.fromkeys(pilot.uses[i].name for i in where))
        return ParameterPlan(name, Strategy.FACTORED, frames, f"used by {calls}")
    return ParameterPlan(name, Strategy.PULLED_BACK, frames, "used through a map that changes inner products")


@final
class _Owners:
    """Names of the parameters that a parametric tensor depends on, found once for each tensor."""

    def __init__(self, trainable: Mapping[str, Tensor]) -> None:
        self._trainable = trainable
        self._found: dict[int, frozenset[str]] = {id(p): frozenset({name}) for name, p in trainable.items()}

    def of(self, value: Tensor) -> frozenset[str]:
        if id(value) not in self._found:
            gradients = torch.autograd.grad(
                value, list(self._trainable.values()), torch.ones_like(value), retain_graph=True, allow_unused=True
            )
            names = (name for name, g in zip(self._trainable, gradients, strict=True) if g is not None)
            self._found[id(value)] = frozenset(names)
        return self._found[id(value)]


def _frames(name: str, parameter: Tensor, uses: Sequence[RecordedUse], owners: _Owners) -> tuple[Frame, ...]:
    members: dict[object, list[int]] = {}
    for index, recorded in enumerate(uses):
        if name in owners.of(recorded.use.value):
            members.setdefault(_identity(recorded.use.value, parameter), []).append(index)
    return tuple(Frame(uses[indices[0]].use.value, tuple(indices)) for indices in members.values())


def _identity(value: Tensor, parameter: Tensor) -> object:
    """Equal for V and for other views of the parameter that hold the same entries in the same canonical order."""
    if value.dtype == parameter.dtype and value.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr():
        order = canonical_order(value)
        spans = [(value.shape[axis], value.stride(axis)) for axis in order if value.shape[axis] > 1]
        return (value.storage_offset(), *spans)
    return id(value)


def _error(
    parameter: Tensor,
    frames: Sequence[Frame],
    pilot: Recording,
    gradients: Sequence[Tensor],
    layouts: Sequence[Layout | None],
    expected: Tensor,
) -> float:
    """Relative difference between the gradient that the factors give and the one of automatic differentiation."""
    found = torch.zeros_like(expected)
    for frame in frames:
        for index in frame.uses:
            layout = layouts[index]
            if layout is None:
                return math.inf
            recorded = pilot.uses[index]
            factors = part(recorded.use, gradients[index][None], layout, _MORE)
            found = found + _pull_back(recorded.use.value, parameter, materialise_sum(factors))
    scale = float(expected.norm())
    return float((found - expected).norm()) / scale if scale else float(found.norm())


def _pull_back(value: Tensor, parameter: Tensor, gradient: Tensor) -> Tensor:
    """Gradient in the parameter of <V, G>, with G in the canonical axes of V."""
    order = canonical_order(value)
    aligned = gradient.permute([order.index(axis) for axis in range(value.ndim)])
    if value is parameter:
        return aligned
    return torch.autograd.grad(value, parameter, aligned.to(value.dtype), retain_graph=True)[0]


def _isometric(parameter: Tensor, frames: Sequence[Frame]) -> bool:
    """Whether the gradients' inner products in the axes of the Vs are those in the axes of the parameter.

    With D_a = dV_a / dP this asks for D_a D_b^T = identity (a = b) or 0 (a != b). A quadratic form that vanishes
    at a random point vanishes everywhere with probability one, so one random vector for each frame decides.
    """
    if len(frames) == 1 and frames[0].value is parameter:
        return True
    generator = torch.Generator().manual_seed(1)
    pulled = []
    for frame in frames:
        direction = torch.randn(frame.value.shape, generator=generator).to(frame.value)
        (image,) = torch.autograd.grad(frame.value, parameter, direction, retain_graph=True)
        if not math.isclose(float(image.norm()), float(direction.norm()), rel_tol=1e-5):
            return False
        pulled.append(image / image.norm())
    return all(abs(float((a * b).sum())) < 1e-6 for i, a in enumerate(pulled) for b in pulled[:i])


def pull_back_rows(frame: Frame, parameter: Tensor, gradients: Tensor) -> Tensor:
    """Pull (rows, *canonical axes of V) back to (rows, size of the parameter)."""
    order = canonical_order(frame.value)
    aligned = gradients.permute(0, *(1 + order.index(axis) for axis in range(frame.value.ndim)))
    if frame.value is parameter:
        return aligned.reshape(len(aligned), -1)
    (pulled,) = vectorised_grad([frame.value], [parameter], [aligned.to(frame.value.dtype)])
    if pulled is None:
        return gradients.new_zeros(gradients.shape[0], parameter.numel())
    return pulled.reshape(len(pulled), -1)
