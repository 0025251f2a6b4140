"""Other states of a user's model: untrained, retrained, at a checkpoint; the user's own model is never changed."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError

REINITIALISE = "reinitialise"


def variant(model: nn.Module, state: Any, where: str) -> nn.Module:
    """A model in another state.

    Args:
        model: the user's; it is copied.
        state: a state dict; a file that torch.load or safetensors reads; a module; or a function without arguments that
            returns any of these.
        where: of the argument, for messages.

    Raises:
        InvalidInputError: it is none of these, or does not fit the model.
    """
    if isinstance(state, nn.Module):
        return _like(model, state)
    if isinstance(state, str | Path):
        return variant(model, _loaded(Path(state), where), where)
    if isinstance(state, Mapping):
        return _with_state(model, state, where)
    if callable(state):
        return variant(model, state(), f"what {where}() returned")
    raise InvalidInputError(
        f"a {type(state).__name__} is no state of a model",
        where=where,
        remedy="Give a state dict, a file of one, a module, or a function that returns one.",
    )


def _like(model: nn.Module, other: nn.Module) -> nn.Module:
    """A module as it is, in the mode of the user's."""
    if other.training != model.training:
        other = copy.deepcopy(other).train(model.training)
    return other


def _with_state(model: nn.Module, state: Mapping[str, Any], where: str) -> nn.Module:
    state = _unwrapped(state)
    copied = copied_model(model)
    try:
        copied.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInputError(
            f"the state does not fit the model: {str(error).splitlines()[-1].strip()}",
            where=where,
            remedy="Give what model.state_dict() returned.",
        ) from error
    return copied


def _unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict in a checkpoint that holds more than that."""
    if all(isinstance(value, Tensor) for value in state.values()):
        return state
    for key in ("model", "state_dict", "model_state_dict"):
        inner = state.get(key)
        if isinstance(inner, Mapping):
            return inner
    return state


def _loaded(path: Path, where: str) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the file holds
        raise InvalidInputError(
            f"the file cannot be read as a state dict: {error}",
            where=f"{where}: {path}",
            remedy="Save it with torch.save(model.state_dict(), path) or safetensors.",
        ) from error


def copied_model(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        InvalidInputError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever a module holds
        raise InvalidInputError(
            f"the model cannot be copied: {error}",
            where="model",
            remedy="Give untrained= and checkpoints= as functions that build a model.",
        ) from error


def not_reinitialisable(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules with parameters of their own and no reset_parameters()."""
    return tuple(
        name or type(module).__name__
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None and not hasattr(module, "reset_parameters")
    )


def reinitialised(model: nn.Module, seed: int) -> nn.Module:
    """A copy of the model whose modules have drawn their parameters anew; torch's generator is left as it was."""
    copied = copied_model(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in copied.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return copied


def untrained_models(model: nn.Module, untrained: Any, count: int, seed: int) -> Iterator[nn.Module]:
    """The states that an analysis compares a trained network with.

    The network's own initial state (`own_start`) is compared with alone. Another state, or none, is joined by `count`
    states that `reinitialised` draws, where every module with parameters can be: one draw of an untrained network
    tells nothing of how much they differ. A function that takes an argument is called with `count` different seeds,
    one without is called `count` times.

    Args:
        model: the trained one.
        untrained: None, "reinitialise", or as for `variant`.
        count: how many states are drawn.
        seed: of the first.
    """
    if callable(untrained) and not isinstance(untrained, nn.Module):
        yield from (variant(model, _called(untrained, seed + draw), "untrained") for draw in range(count))
        return
    if untrained is not None and untrained != REINITIALISE:
        given = variant(model, untrained, "untrained")
        yield given
        if own_start(model, given):
            return
    if not not_reinitialisable(model):
        yield from (reinitialised(model, seed + draw) for draw in range(count))


def own_start(model: nn.Module, untrained: nn.Module) -> bool:
    """Whether the untrained parameters are the ones that training of this model began with.

    Training moves a network some way from where it began; two independent draws have a cosine of about P^(-1/2), for P
    parameters in matrices (biases and scales, which may be constant, are left out). One above 0.1 + 5 P^(-1/2) counts.
    """
    ours, theirs = dict(model.named_parameters()), dict(untrained.named_parameters())
    pairs = [
        (ours[name].detach().double().flatten(), theirs[name].detach().double().flatten())
        for name in ours
        if name in theirs and ours[name].shape == theirs[name].shape and ours[name].ndim > 1
    ]
    if not pairs:
        return False
    a, b = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    lengths = a.norm() * b.norm()
    return float(lengths) > 0 and float(a @ b / lengths) > 0.1 + 5 / len(a) ** 0.5


def check_untrained(model: nn.Module, untrained: Any) -> None:
    """Refuse "reinitialise" where a module cannot be.

    Raises:
        InvalidInputError: names the modules.
    """
    missing = not_reinitialisable(model)
    if isinstance(untrained, str) and untrained == REINITIALISE and missing:
        raise InvalidInputError(
            f"{', '.join(missing[:3])} cannot be initialised anew: no reset_parameters()",
            where="untrained",
            remedy="Give a state dict, or a function that builds an untrained model.",
        )


def _called(factory: Callable[..., Any], seed: int) -> Any:
    """What a function returns, called with a seed if it takes one."""
    try:
        takes = len(inspect.signature(factory).parameters) > 0
    except (TypeError, ValueError):
        takes = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(seed) if takes else factory()
