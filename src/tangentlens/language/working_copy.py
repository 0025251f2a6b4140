"""A private copy of a model to differentiate: it shares the parameters' memory, and nothing else, with the user's.

On the copy, attention and experts are switched to implementations that have every derivative, masks are made finite,
and parameters of half precision become float32. The user's model stays as it is, whatever else works with it.
"""

import copy
import logging
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tangentlens.errors import UnsupportedModelError

_log = logging.getLogger(__name__)

_HALF = (torch.float16, torch.bfloat16)
# fused kernels have no forward-mode derivative and no factors; these are written in plain products
_ATTENTION, _EXPERTS = "eager", "batched_mm"
_LOWEST = torch.finfo(torch.float32).min  # of a mask: lower numbers are -inf in the softmax, which is float32


def differentiable_copy(model: nn.Module) -> nn.Module:
    """The model with plain attention and experts, float32 or float64 throughout.

    Raises:
        UnsupportedModelError: it cannot be copied, or its attention cannot be switched.
    """
    made = private_copy(model)
    _switch_attention(made)
    _switch_experts(made)
    _switch_activations(made)
    return made


def private_copy(model: nn.Module, *, convert: bool = True) -> nn.Module:
    """A copy of the modules around the same parameters.

    Args:
        convert: parameters and buffers of half precision to float32, as copies.

    Raises:
        UnsupportedModelError: a module cannot be copied.
    """
    parameters = {id(p): p for p in model.parameters()}
    half = sorted({str(p.dtype).removeprefix("torch.") for p in parameters.values() if convert and p.dtype in _HALF})
    if half:
        _log.warning("the model is %s: everything is computed in float32, on a copy", " and ".join(half))
    memo: dict[int, Any] = {key: _usable(parameter, bool(half)) for key, parameter in parameters.items()}
    memo |= {id(kept): kept.detach().clone() for kept in _states(model)}
    try:
        made = copy.deepcopy(model, memo)
    except Exception as error:  # whatever a stranger's module raises
        raise UnsupportedModelError(
            f"the model cannot be copied: {type(error).__name__}: {error}",
            where=type(model).__name__,
            remedy="Remove what its modules hold beside parameters, buffers and settings (handles, locks, graphs).",
        ) from error
    if half:
        _convert_buffers(made)
    return made


def with_finite_masks(blocks: nn.ModuleList) -> None:
    """Make the lowest number of float64 masks one that float32 can hold: a softmax over hidden positions stays finite.

    Args:
        blocks: of a private copy.
    """

    def clamp(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return args, {name: _clamped(value) for name, value in kwargs.items()}

    for block in blocks:
        block.register_forward_pre_hook(clamp, with_kwargs=True)


def _clamped(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float64 and value.ndim == 4:
        return value.clamp(min=_LOWEST)
    return value


def _usable(parameter: nn.Parameter, convert: bool) -> nn.Parameter:
    """The parameter itself, or a copy that autograd can keep and that is not of half precision."""
    converted = convert and parameter.dtype in _HALF
    if not converted and not parameter.is_inference():
        return parameter
    dtype = torch.float32 if converted else parameter.dtype
    return nn.Parameter(parameter.detach().to(dtype, copy=True), requires_grad=parameter.requires_grad)


def _states(model: nn.Module) -> Iterator[Tensor]:
    """Tensors with a graph that modules keep from an earlier call."""
    for module in model.modules():
        for value in (*vars(module).values(), *module._buffers.values()):
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value


def _convert_buffers(model: nn.Module) -> None:
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.dtype in _HALF:
                module._buffers[name] = buffer.float()


def _switch_attention(model: nn.Module) -> None:
    config: Any = model.config
    if config._attn_implementation != _ATTENTION:
        if model._can_set_attn_implementation():  # type: ignore[operator]
            model.set_attn_implementation(_ATTENTION)  # type: ignore[operator]
        else:  # families that ask their config at every call, such as Falcon
            config._attn_implementation_internal = _ATTENTION
    if config._attn_implementation != _ATTENTION:
        raise UnsupportedModelError(
            f"the attention stays {config._attn_implementation} when it is switched to {_ATTENTION}, so it has no "
            "forward-mode derivative",
            where=type(model).__name__,
            remedy=f"Load the model with attn_implementation={_ATTENTION!r}.",
        )


def _switch_activations(model: nn.Module) -> None:
    """Of Bloom: its activation is a function with a reverse derivative alone; the formula has them all."""
    for module in model.modules():
        formula = getattr(sys.modules[type(module).__module__], "bloom_gelu_forward", None)
        if type(module).__name__ == "BloomGelu" and formula is not None:
            module.forward = formula


def _switch_experts(model: nn.Module) -> None:
    """Of a mixture of experts: grouped products have no factors, a loop over the chosen ones follows the data."""
    can = getattr(model, "_can_set_experts_implementation", lambda: False)
    if can():
        model.set_experts_implementation(_EXPERTS)  # type: ignore[operator]
