"""The kernel of the loss: how alike the steps are that two examples would make the network take."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tangentlens.eigen import top_eigenpairs
from tangentlens.errors import InvalidInputError
from tangentlens.kernels import entk
from tangentlens.models.functional import Inputs, batch_size, pick_output

_LABELS = "tangentlens_labels"  # beside the inputs that have names


class _ExampleLoss(nn.Module):
    """(*inputs, labels), or inputs by name with the labels beside them, -> (N, 1) the loss of each example."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, *batch: Tensor, **named: Tensor) -> Tensor:
        if named:
            labels = named.pop(_LABELS)
            returned = self.model(**named)
        else:
            *inputs, labels = batch
            returned = self.model(*inputs)
        outputs = pick_output(returned)
        if outputs.ndim not in (1, 2):
            raise InvalidInputError(
                f"the model's output has shape {tuple(outputs.shape)}, not (N, C)",
                where="model",
                remedy="Wrap the model so that it returns one row of outputs for each example.",
            )
        losses = self._loss(outputs, labels)
        if not isinstance(losses, Tensor) or losses.shape != labels.shape[:1]:
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InvalidInputError(
                f"the loss of {len(labels)} examples has shape {shape}",
                where="example_loss",
                remedy="Return one loss for each example, for example with reduction='none'.",
            )
        return losses[:, None]


def loss_kernel_functions(
    model: nn.Module,
    inputs: Inputs,
    labels: Shaped[Tensor, "N ..."],
    example_loss: Callable[[Tensor, Tensor], Tensor],
    k: int,
) -> Float[Tensor, "N k"]:
    """The leading k eigenvectors of K_ij = grad L_i . grad L_j, L_i the loss of example i.

    It is the eNTK of one more output, the loss: each example's outputs weighted by its own dL / df.

    Args:
        model: any module.
        inputs: a tensor, a tuple or a dict of them.
        labels: (N,) classes, or (N, ...) targets.
        example_loss: (N, C) outputs and labels to the (N,) losses.
        k: how many.

    Raises:
        InvalidInputError: the labels are not one for each input, or the loss is not one number for each example.
    """
    if batch_size(inputs) != len(labels):
        raise InvalidInputError(
            f"{len(labels)} labels for {batch_size(inputs)} inputs", where="labels", remedy="Give one for each input."
        )
    batch: Inputs
    if isinstance(inputs, dict):
        batch = {**inputs, _LABELS: labels}
    else:
        batch = (*(inputs if isinstance(inputs, tuple) else (inputs,)), labels)
    kernel = entk(_ExampleLoss(model, example_loss), batch, outputs=0, groups="all").total
    return top_eigenpairs(kernel, k=min(k, len(labels))).vectors


def squared_errors(outputs: Float[Tensor, "n C"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Mean over the outputs of (output - one-hot target)^2, for each example."""
    targets = torch.nn.functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    return (outputs - targets).square().mean(dim=1)


def cross_entropies(outputs: Float[Tensor, "n C"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """-log softmax(outputs)[label], for each example."""
    return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
