"""A torch module as a function of its parameters, with the user's model left as it was found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tangentlens.errors import InvalidInputError, NumericalError, UnsupportedModelError

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
PickOutput = Callable[[Any], Tensor]


@dataclass(frozen=True)
class FunctionalModel:
    """f(parameters, inputs) -> (N, C), with parameters that share the model's memory and nothing else of it.

    Attributes:
        module: the user's module; never changed.
        trainable: first name -> detached leaf that requires grad, for each parameter the user left trainable.
        constants: the frozen parameters, and copies of the buffers.
        aliases: first name -> every name of that parameter (tied weights have several).
        pick: from what the module returns to the (N, C) tensor.
    """

    module: nn.Module
    trainable: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    aliases: Mapping[str, tuple[str, ...]]
    pick: PickOutput

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
        """Outputs (N, C) at these parameters; names left out of `parameters` keep the model's values."""
        args, kwargs = _as_call(inputs)
        state = {**self.constants, **self.trainable, **parameters}
        outputs = self.pick(torch.func.functional_call(self.module, state, args, kwargs))
        return outputs[:, None] if outputs.ndim == 1 else outputs


def functional_model(module: nn.Module, output: PickOutput | None = None) -> FunctionalModel:
    """View a module as a function of its trainable parameters.

    Raises:
        InvalidInputError: it is no torch module or has no trainable parameter.
        UnsupportedModelError: a parameter is complex, or has no memory (meta device).
        NumericalError: a parameter holds NaN or infinity.
    """
    if not isinstance(module, nn.Module):
        raise InvalidInputError(f"the model is a {type(module).__name__}, not a torch.nn.Module")
    first: dict[int, str] = {}
    aliases: dict[str, tuple[str, ...]] = {}
    trainable: dict[str, Tensor] = {}
    constants = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        aliases[known] = (*aliases.get(known, ()), name)
        if known != name:
            continue
        if not parameter.requires_grad:
            constants[name] = parameter.detach()
            continue
        _check_parameter(name, parameter)
        trainable[name] = parameter.detach().requires_grad_()
    if not trainable:
        raise InvalidInputError(
            "the model has no trainable parameter",
            where=type(module).__name__,
            remedy="Call requires_grad_(True) on the parameters to analyse.",
        )
    names = {name: aliases[name] for name in trainable}
    return FunctionalModel(module, trainable, constants, names, output or pick_output)


def pick_output(returned: Any) -> Tensor:
    """The output tensor in what a module returns: itself, the first of a tuple, or a record's `logits`.

    Raises:
        InvalidInputError: there is no tensor of shape (N, C) or (N,) there.
    """
    remedy = "Pass output=, a function from what the model returns to the (N, C) tensor to analyse."
    if isinstance(returned, Mapping) and "logits" in returned:  # a Hugging Face output is a mapping
        returned = returned["logits"]
    elif isinstance(returned, tuple | list) and returned:
        returned = returned[0]
    if not isinstance(returned, Tensor):
        raise InvalidInputError(f"the model returned a {type(returned).__name__}", where="output", remedy=remedy)
    if returned.ndim not in (1, 2):
        raise InvalidInputError(
            f"the model returned a tensor of shape {tuple(returned.shape)}, not (N, C)", where="output", remedy=remedy
        )
    if not returned.dtype.is_floating_point:
        raise InvalidInputError(f"the model returned {returned.dtype} numbers", where="output", remedy=remedy)
    return returned


def batch_size(inputs: Inputs) -> int:
    """The length N of the batch axis, the first of every tensor in `inputs`.

    Raises:
        InvalidInputError: there is no tensor, the batch is empty, or the lengths differ.
    """
    tensors = list(_leaves(inputs))
    if not tensors or not all(isinstance(t, Tensor) and t.ndim > 0 for _, t in tensors):
        raise InvalidInputError(
            "inputs must be a tensor, a tuple of tensors or a dict of tensors, with the batch axis first",
            where="inputs",
        )
    lengths = {name: t.shape[0] for name, t in tensors}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"the batch axes have different lengths {lengths}", where="inputs")
    size = next(iter(lengths.values()))
    if size == 0 or any(t.numel() == 0 for _, t in tensors):
        raise InvalidInputError("the inputs are empty", where="inputs", remedy="Give at least one example.")
    return size


def take(inputs: Inputs, rows: Tensor | slice) -> Inputs:
    """The examples `rows` of a batch."""
    return map_inputs(lambda tensor: tensor[rows], inputs)


def map_inputs(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply a function to every tensor of a batch."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {name: function(tensor) for name, tensor in inputs.items()}
    return tuple(function(tensor) for tensor in inputs)


def concatenate(first: Inputs, second: Inputs) -> Inputs:
    """Two batches as one, the second's examples behind the first's.

    Raises:
        InvalidInputError: they differ in structure, dtype or in the shape of an example.
    """
    a, b = dict(_leaves(first)), dict(_leaves(second))
    like_a = {name: (t.shape[1:], t.dtype, t.device) for name, t in a.items()}
    like_b = {name: (t.shape[1:], t.dtype, t.device) for name, t in b.items()}
    if type(first) is not type(second) or like_a != like_b:
        raise InvalidInputError(
            f"inputs2 differs from inputs in structure, shape, dtype or device: {like_a} against {like_b}",
            where="inputs2",
            remedy="Pad both to one shape and give them one dtype and device.",
        )
    joined = {name: torch.cat([a[name], b[name]]) for name in a}
    if isinstance(first, Tensor):
        return joined["inputs"]
    return joined if isinstance(first, dict) else tuple(joined.values())


def _leaves(inputs: Inputs) -> list[tuple[str, Tensor]]:
    if isinstance(inputs, dict):
        return list(inputs.items())
    if isinstance(inputs, tuple):
        return [(f"inputs[{i}]", tensor) for i, tensor in enumerate(inputs)]
    return [("inputs", inputs)]


def _as_call(inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _check_parameter(name: str, parameter: Tensor) -> None:
    if parameter.is_meta:
        raise UnsupportedModelError(
            "the parameter has no values (meta device)", where=name, remedy="Load the weights before the analysis."
        )
    if parameter.is_complex():
        raise UnsupportedModelError(
            "the parameter is complex; kernels are defined here for real parameters",
            where=name,
            remedy="Hold real and imaginary part as two real parameters, or freeze it with requires_grad_(False).",
        )
    if not bool(torch.isfinite(parameter).all()):
        raise NumericalError(
            "the parameter holds NaN or infinity", where=name, remedy="Load a checkpoint from before it diverged."
        )
