"""Per-example gradients by automatic differentiation alone: the oracle, and the way out where no rule applies."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tangentlens.errors import UnsupportedModelError
from tangentlens.kernels.differentiation import without_advice
from tangentlens.models.functional import FunctionalModel, Inputs, batch_size, map_inputs, take


def jacobian(
    model: FunctionalModel,
    inputs: Inputs,
    parameters: Mapping[str, Tensor],
    directions: Float[Tensor, "C R"],
    *,
    chunk: int,
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Gradients of the outputs f . D in the given parameters, `chunk` examples at a time, by vmap(jacrev).

    Yields:
        the examples, and name -> (n, R, *shape of the parameter).

    Raises:
        UnsupportedModelError: the model cannot be vectorised over examples; names the module call and parameters.
    """

    def outputs(state: dict[str, Tensor], example: Inputs) -> Tensor:
        single = map_inputs(lambda tensor: tensor[None], example)
        return model(state, single)[0] @ directions

    per_example = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0), randomness="error")
    state = {name: parameter.detach() for name, parameter in parameters.items()}
    total = batch_size(inputs)
    for start in range(0, total, chunk):
        rows = slice(start, min(start + chunk, total))
        try:
            with without_advice():
                gradients = per_example(state, take(inputs, rows))
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise UnsupportedModelError(
                f"no rule covers {', '.join(parameters)}, and torch cannot differentiate the model example by example: "
                f"{error}",
                where=type(model.module).__name__,
                remedy="Write the operation without in-place updates and data-dependent control flow, or freeze the "
                "parameter with requires_grad_(False).",
            ) from error
        yield rows, {name: gradient.detach() for name, gradient in gradients.items()}


def rows_of(gradients: Mapping[str, Tensor]) -> Float[Tensor, "n R P"]:
    """Gradients of several parameters side by side."""
    return torch.cat([gradient.reshape(*gradient.shape[:2], -1) for gradient in gradients.values()], dim=2)
