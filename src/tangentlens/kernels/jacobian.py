"""Per-example gradients by automatic differentiation alone: the oracle, and the way out where no rule applies."""

import logging
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import TangentlensError, UnsupportedModelError
from tangentlens.kernels.differentiation import without_advice
from tangentlens.models.checks import agreement
from tangentlens.models.functional import FunctionalModel
from tangentlens.models.inputs import Inputs, batch_size, map_inputs, take

_log = logging.getLogger(__name__)


def jacobian(
    model: FunctionalModel,
    inputs: Inputs,
    parameters: Mapping[str, Tensor],
    directions: Float[Tensor, "C R"],
    *,
    chunk: int,
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Gradients of the outputs f . D in the given parameters, `chunk` examples at a time, by vmap(jacrev).

    What torch cannot vectorise is differentiated one example and one direction at a time.

    Yields:
        the examples, and name -> (n, R, *shape of the parameter).

    Raises:
        UnsupportedModelError: torch cannot differentiate the model at all; names the parameters.
    """
    total = batch_size(inputs)
    differentiate, proven = _vectorised, 0
    for start in range(0, total, chunk):
        rows = slice(start, min(start + chunk, total))
        batch = take(inputs, rows)
        try:
            gradients = differentiate(model, batch, parameters, directions)
            if differentiate is _vectorised and batch_size(batch) != proven:  # some rules of torch fail at some sizes
                proven = batch_size(batch)
                _require_same(gradients, _one_by_one(model, take(batch, slice(0, 1)), parameters, directions))
        except TangentlensError:
            raise
        except (RuntimeError, ValueError, NotImplementedError) as error:
            _log.info("torch cannot vectorise %s (%s): one example at a time", ", ".join(parameters), error)
            differentiate = _one_by_one
            gradients = differentiate(model, batch, parameters, directions)
        yield rows, gradients


def _require_same(many: Mapping[str, Tensor], alone: Mapping[str, Tensor]) -> None:
    """Raise RuntimeError where the gradients of the first example differ from those of the example alone."""
    for name, gradient in alone.items():
        difference = float((many[name][:1] - gradient).norm())
        if difference > agreement(gradient.dtype) * max(float(gradient.norm()), float(many[name].norm())):
            raise RuntimeError(f"the gradients of {name} change when torch vectorises them")


def _vectorised(
    model: FunctionalModel, inputs: Inputs, parameters: Mapping[str, Tensor], directions: Float[Tensor, "C R"]
) -> dict[str, Tensor]:
    def outputs(state: dict[str, Tensor], example: Inputs) -> Tensor:
        return model(state, map_inputs(lambda tensor: tensor[None], example))[0] @ directions

    state = {name: parameter.detach() for name, parameter in parameters.items()}
    with without_advice():
        found = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0), randomness="error")(state, inputs)
    return {name: gradient.detach() for name, gradient in found.items()}


def _one_by_one(
    model: FunctionalModel, inputs: Inputs, parameters: Mapping[str, Tensor], directions: Float[Tensor, "C R"]
) -> dict[str, Tensor]:
    leaves = list(parameters.values())
    found: list[list[tuple[Tensor, ...]]] = []
    try:
        for i in range(batch_size(inputs)):
            with torch.enable_grad():
                values = model(parameters, take(inputs, slice(i, i + 1)))[0] @ directions
                found.append(
                    [
                        torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
                        for value in values.unbind()
                    ]
                )
    except (RuntimeError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"no rule covers {', '.join(parameters)}, and torch cannot differentiate the model: {error}",
            where=type(model.module).__name__,
            remedy="Write the operation without in-place updates, or freeze the parameter with requires_grad_(False).",
        ) from error
    return {
        name: torch.stack([torch.stack([row[k] for row in rows]) for rows in found])
        for k, name in enumerate(parameters)
    }


def rows_of(gradients: Mapping[str, Tensor]) -> Float[Tensor, "n R P"]:
    """Gradients of several parameters side by side."""
    return torch.cat([gradient.reshape(*gradient.shape[:2], -1) for gradient in gradients.values()], dim=2)
