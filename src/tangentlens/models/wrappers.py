"""Refuse modules whose forward pass cannot be watched, naming what to pass instead."""

import torch
from torch import nn

from tangentlens.errors import UnsupportedModelError


def check_wrappers(module: nn.Module) -> None:
    """No part of the module may be scripted, compiled, spread over devices or without its shapes.

    Raises:
        UnsupportedModelError: a part is; names it and the remedy.
    """
    for name, part in module.named_modules():
        where, inner = name or type(part).__name__, f"model.{name}" if name else "model"
        if isinstance(part, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            raise UnsupportedModelError(
                f"a {type(part).__name__} hides its calls",
                where=where,
                remedy="Pass the Python module that was scripted or traced.",
            )
        if hasattr(part, "_orig_mod"):
            raise UnsupportedModelError(
                "a compiled module hides its calls", where=where, remedy=f"Pass {inner}._orig_mod instead."
            )
        if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise UnsupportedModelError(
                f"a {type(part).__name__} runs its module in several copies",
                where=where,
                remedy=f"Pass {inner}.module instead.",
            )
        if isinstance(part, nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():  # type: ignore[misc]
            raise UnsupportedModelError(
                f"the parameters of a {type(part).__name__} have no shape yet",
                where=where,
                remedy="Call the model once on an example before the analysis.",
            )
