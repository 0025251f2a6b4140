"""The sites of a model that an analysis reads and edits: its inputs, and what leaves its modules."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode

from tangentlens.errors import InvalidInputError, UnsupportedModelError
from tangentlens.models.functional import functional_model
from tangentlens.models.inputs import Inputs, batch_size
from tangentlens.models.outputs import PickOutput
from tangentlens.models.sites import Site, input_site, leaving

MOST_SITES = 12
_LARGEST = 4 * 10**7  # numbers at one site: 160 MB in float32


def model_sites(
    model: nn.Module, inputs: Inputs, sites: Any = "auto", *, output: PickOutput | None = None
) -> dict[str, Site]:
    """The sites by name, in the order of the network.

    Args:
        model: any module.
        inputs: what it is called with.
        sites: "auto" for the inputs, where they are one tensor of real numbers, and what leaves every module that is
            called once and returns one tensor of real numbers with a row for each input, each value once and the
            outputs themselves left out, at most 12 spread over the network; or names of modules ("inputs" too); or
            sites by name.
        output: from what the model returns to its outputs.

    Raises:
        InvalidInputError: a module that is named cannot be a site.
    """
    if isinstance(sites, Mapping):
        return dict(sites)
    if isinstance(sites, str) and sites != "auto":
        sites = (sites,)
    named = _automatic(model, inputs, output) if isinstance(sites, str) else _checked(sites)
    found: dict[str, Site] = {}
    for name in named:
        if name == "inputs":
            found[name] = input_site(model, _one(inputs), output=output)
            continue
        try:
            found[name] = leaving(model, inputs, name, output=output)
        except (InvalidInputError, UnsupportedModelError):
            if not isinstance(sites, str):
                raise
    return found


def _one(inputs: Inputs) -> Any:
    return inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs


def _checked(sites: Any) -> tuple[str, ...]:
    if not isinstance(sites, Sequence) or not all(isinstance(name, str) for name in sites):
        raise InvalidInputError(
            f"a {type(sites).__name__} names no sites", where="sites", remedy='Give "auto" or names of modules.'
        )
    return tuple(sites)


def _automatic(model: nn.Module, inputs: Inputs, output: PickOutput | None) -> list[str]:
    named = _passing(model, inputs, output)
    single = _one(inputs)
    readable = isinstance(single, Tensor) and single.is_floating_point() and isinstance(inputs, Tensor)
    spread = _spread(named, MOST_SITES - int(readable))
    return [*(["inputs"] if readable else []), *spread]


def _spread(named: list[str], most: int) -> list[str]:
    """As many as allowed, the last one always among them."""
    if len(named) <= most:
        return named
    places = [round(i * (len(named) - 1) / (most - 1)) for i in range(most)]
    return [named[place] for place in places]


def _passing(model: nn.Module, inputs: Inputs, output: PickOutput | None) -> list[str]:
    """Modules that are called once and return one tensor that no module before them returned, in calling order."""
    view = functional_model(model, output)
    seen: dict[str, list[Any]] = {}

    def look(name: str, _module: nn.Module, _arguments: Any, returned: Any) -> None:
        seen.setdefault(name, []).append(returned)

    modules = [(name, module) for name, module in view.module.named_modules() if name]
    handles = [module.register_forward_hook(partial(look, name)) for name, module in modules]
    try:
        with torch.no_grad(), BaseTorchFunctionMode():
            outputs = view({}, inputs)
    finally:
        for handle in handles:
            handle.remove()
    N, kept, values = batch_size(inputs), [], [outputs]
    for name, returned in seen.items():
        value = returned[0]
        if len(returned) > 1 or not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        if value.shape[:1] != (N,) or value.ndim < 2 or value.numel() > _LARGEST or _repeats(value, values):
            continue
        values.append(value)
        kept.append(name)
    return kept


def _repeats(value: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether the same numbers, in whatever shape, are at hand already."""
    return any(value.numel() == other.numel() and torch.equal(value.flatten(), other.flatten()) for other in others)
