"""Places of a model where an intervention takes hold: its inputs, what enters or leaves a module, its parameters.

A site is a matrix Z of values and the function from such a matrix to the outputs; changing Z and calling the function
is the intervention. The user's model is left as found: parameters are changed on functional copies, and every hook is
removed when the call ends, however it ends. Every call runs without the fused kernels of nn.TransformerEncoder, which
skip hooks and hand nested tensors from layer to layer.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode
from torch.utils.hooks import RemovableHandle

from tangentlens.errors import InvalidInputError
from tangentlens.models.functional import FunctionalModel, functional_model
from tangentlens.models.inputs import Inputs, take
from tangentlens.models.outputs import PickOutput


@dataclass(frozen=True)
class Site:
    """One place of a model.

    Attributes:
        name: what reports call it.
        values: (rows, w) what is there when nothing is changed: a row for each input, its axes flattened; for the
            parameters a single row.
        run: from values of that shape to the outputs (N, C).
        around: (w,) what an ablation projects towards: the mean over inputs, zero for the parameters.
    """

    name: str
    values: Float[Tensor, "rows w"] = field(repr=False)
    run: Callable[[Tensor], Tensor] = field(repr=False)
    around: Float[Tensor, " w"] = field(repr=False)

    @property
    def scale(self) -> float:
        """Root mean square distance of the rows from `around`: the unit of a perturbation's norm."""
        return float((self.values - self.around).square().sum(dim=1).mean().sqrt())


def input_site(model: nn.Module, inputs: Tensor, *, output: PickOutput | None = None) -> Site:
    """The inputs themselves, where they are vectors or arrays of numbers, (N, ...).

    Raises:
        InvalidInputError: the inputs are not a floating-point tensor: token numbers cannot be shifted; use the site
            that leaves the embedding.
    """
    if not isinstance(inputs, Tensor) or not inputs.dtype.is_floating_point:
        raise InvalidInputError(
            "only inputs that are one tensor of real numbers can be shifted",
            where="inputs",
            remedy="Use leaving(model, inputs, <name of the embedding>) for tokens.",
        )
    view = functional_model(model, output)
    shape = inputs.shape[1:]

    def run(values: Tensor) -> Tensor:
        return _call(view, {}, values.unflatten(1, shape))

    return _site("inputs", inputs.flatten(start_dim=1), run)


def entering(model: nn.Module, inputs: Inputs, module: str, *, output: PickOutput | None = None) -> Site:
    """What a module is called with: its first argument, by position or by name, (N, ...).

    Raises:
        InvalidInputError: there is no such module, it is not called exactly once, or not with a tensor of one
            row for each input.
    """
    view = functional_model(model, output)
    target = _module(view, module)

    def before(change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (change(args[0]), *args[1:]), kwargs
            first, *_ = kwargs
            return args, {**kwargs, first: change(kwargs[first])}

        return target.register_forward_pre_hook(hook, with_kwargs=True)

    return _hooked_site(f"into {module}", view, inputs, before)


def leaving(model: nn.Module, inputs: Inputs, module: str, *, output: PickOutput | None = None) -> Site:
    """What a module returns, a tensor (N, ...).

    Raises:
        InvalidInputError: there is no such module, it is not called exactly once, or does not return a tensor of
            one row for each input.
    """
    view = functional_model(model, output)
    target = _module(view, module)

    def after(change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        return target.register_forward_hook(lambda _module, _arguments, returned: change(returned))

    return _hooked_site(f"out of {module}", view, inputs, after)


def parameter_site(model: nn.Module, inputs: Inputs, *, output: PickOutput | None = None) -> Site:
    """All trainable parameters as one row (1, P), in the order of the model's first names."""
    view = functional_model(model, output)
    names = list(view.trainable)
    shapes = [view.trainable[name].shape for name in names]
    flat = torch.cat([view.trainable[name].detach().flatten() for name in names])[None]

    def run(values: Tensor) -> Tensor:
        parts = values[0].split([math.prod(shape) for shape in shapes])
        return _call(view, {n: part.reshape(s) for n, part, s in zip(names, parts, shapes, strict=True)}, inputs)

    return Site("parameters", flat, run, torch.zeros_like(flat[0]))


def _call(view: FunctionalModel, parameters: dict[str, Tensor], inputs: Inputs) -> Tensor:
    """The outputs, on paths that run hooks: torch's fused encoder gives way to any torch function mode.

    The mode belongs to the thread; torch.backends.mha.set_fastpath_enabled would reach into others.
    """
    with BaseTorchFunctionMode():
        return view(parameters, inputs)


def _site(name: str, values: Float[Tensor, "N w"], run: Callable[[Tensor], Tensor]) -> Site:
    values = values.detach().clone()
    return Site(name, values, run, values.mean(dim=0))


def _module(view: FunctionalModel, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(view.module.named_modules())
    if name not in modules:
        known = ", ".join(other for other in modules if other)
        raise InvalidInputError(f"there is no module {name!r}", where="module", remedy=f"The modules are {known}.")
    return modules[name]


def _hooked_site(
    name: str,
    view: FunctionalModel,
    inputs: Inputs,
    register: Callable[[Callable[[Tensor], Tensor]], RemovableHandle],
) -> Site:
    """The site that a hook reads and replaces; `register` installs a change of the tensor that passes there."""
    value = _seen(name, view, inputs, register)
    _seen(name, view, take(inputs, slice(0, 1)), register)  # an axis of N positions is no axis of N inputs
    shape = value.shape[1:]

    def run(values: Tensor) -> Tensor:
        given = values.unflatten(1, shape).clone()  # a model may write into what it is given
        with _installed(register, lambda _: given):
            return _call(view, {}, inputs)

    return _site(name, value.flatten(start_dim=1), run)


def _seen(
    name: str,
    view: FunctionalModel,
    inputs: Inputs,
    register: Callable[[Callable[[Tensor], Tensor]], RemovableHandle],
) -> Float[Tensor, "N ..."]:
    """What passes at the site when the model is called on these inputs."""
    seen: list[Any] = []

    def look(value: Any) -> Any:
        seen.append(value.clone() if isinstance(value, Tensor) else value)  # a model may write into it afterwards
        return value

    with torch.no_grad(), _installed(register, look):
        rows = len(_call(view, {}, inputs))
    if len(seen) != 1 or not isinstance(seen[0], Tensor) or seen[0].shape[:1] != (rows,):
        found = [tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__ for each in seen]
        raise InvalidInputError(
            f"expected one tensor with {rows} rows, one for each input, but {found} passed there",
            where=name,
            remedy="Name a module that is called once and maps a tensor to a tensor, with the batch axis first.",
        )
    return seen[0]


@contextmanager
def _installed(
    register: Callable[[Callable[[Tensor], Tensor]], RemovableHandle], change: Callable[[Any], Any]
) -> Iterator[None]:
    handle = register(change)
    try:
        yield
    finally:
        handle.remove()
