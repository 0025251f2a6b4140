"""Training that stops at checkpoints so that the caller can measure; one explicit configuration, no global state."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from tangentlens.errors import InvalidInputError, NumericalError

# (n, C) outputs and (n,) labels to a scalar
Loss = Callable[[Tensor, Tensor], Tensor]

_OPTIMISERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


class TrainingConfig(BaseModel):
    """Optimiser, length and checkpoints of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=1, description="passes over the training rows")
    measure_every: int = Field(ge=1, description="epochs from one checkpoint to the next")
    optimiser: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="torch's, with its other defaults")
    learning_rate: float = Field(gt=0, description="step size, constant over training")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled in adamw, else added to the gradient")
    batch_size: int | None = Field(
        default=None, ge=1, description="rows in a step, reshuffled every epoch; all training rows where absent"
    )


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint record: a network during its training.

    Attributes:
        epoch: passes over the training rows so far; 0 before the first step.
        train_loss, test_loss: over the rows of each part.
        train_accuracy, test_accuracy: share (0..1) of rows whose largest output is at the label.
        seconds: wall time of all training steps so far, without what the caller does in between.
        state: parameters and buffers, copied.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float
    state: Mapping[str, Tensor] = field(repr=False)

    @property
    def row(self) -> tuple[float, float, float, float, float]:
        """Epoch, training loss and accuracy, test loss and accuracy."""
        return float(self.epoch), self.train_loss, self.train_accuracy, self.test_loss, self.test_accuracy


def mean_squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over all entries of (output - one-hot target)^2, for outputs (n, C) and labels (n,)."""
    return functional.mse_loss(outputs, functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype))


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over rows of -log softmax(outputs)[label], for logits (n, C) and labels (n,)."""
    return functional.cross_entropy(outputs, labels)


def train(
    model: nn.Module,
    inputs: Tensor,
    labels: Int[Tensor, " N"],
    train_rows: Int[Tensor, " n_train"],
    test_rows: Int[Tensor, " n_test"],
    loss: Loss,
    config: TrainingConfig,
    generator: torch.Generator,
) -> Iterator[Checkpoint]:
    """Train `model` in place; yield before the first step, every `measure_every` epochs, and at the end.

    Between two checkpoints the model stands still and may be measured as it is.

    Args:
        model: maps inputs (n, ...) to outputs (n, C).
        inputs: (N, ...) all rows.
        labels: (N,) int64.
        train_rows: rows to train on.
        test_rows: rows held out.
        loss: mean_squared_error, cross_entropy or one's own.
        config: how to train.
        generator: shuffles mini-batches; not used for full batches.

    Raises:
        InvalidInputError: inputs and labels differ in length, or one part has no rows.
        NumericalError: the training loss is no longer finite.
    """
    if len(inputs) != len(labels) or len(train_rows) == 0 or len(test_rows) == 0:
        raise InvalidInputError(
            f"{len(inputs)} inputs, {len(labels)} labels, {len(train_rows)} train and {len(test_rows)} test rows",
            where="train",
            remedy="Give one label for each input, and rows both to train and to test on.",
        )
    optimiser = _OPTIMISERS[config.optimiser](
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,  # type: ignore[call-arg]
    )
    seconds = 0.0
    for epoch in range(config.epochs + 1):
        if epoch % config.measure_every == 0 or epoch == config.epochs:
            yield _checkpoint(model, inputs, labels, train_rows, test_rows, loss, epoch, seconds)
        if epoch < config.epochs:
            start = time.perf_counter()
            for rows in _batches(train_rows, config.batch_size, generator):
                optimiser.zero_grad()
                loss(model(inputs[rows]), labels[rows]).backward()
                optimiser.step()
            seconds += time.perf_counter() - start
    optimiser.zero_grad()


def checkpoints(config: TrainingConfig) -> int:
    """Number of checkpoints that `train` yields."""
    return config.epochs // config.measure_every + 1 + (config.epochs % config.measure_every > 0)


def _batches(rows: Tensor, size: int | None, generator: torch.Generator) -> tuple[Tensor, ...]:
    if size is None:
        return (rows,)
    shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
    return tuple(torch.split(shuffled, size))


def _checkpoint(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    train_rows: Tensor,
    test_rows: Tensor,
    loss: Loss,
    epoch: int,
    seconds: float,
) -> Checkpoint:
    with torch.no_grad():
        outputs = model(inputs)
        losses = [float(loss(outputs[rows], labels[rows])) for rows in (train_rows, test_rows)]
        right = (outputs.argmax(dim=1) == labels).double()
    if not all(map(math.isfinite, losses)):
        raise NumericalError(
            f"the loss is {losses[0]} on the training rows and {losses[1]} on the test rows",
            where=f"training, epoch {epoch}",
            remedy="Lower the learning rate.",
        )
    return Checkpoint(
        epoch=epoch,
        train_loss=losses[0],
        train_accuracy=float(right[train_rows].mean()),
        test_loss=losses[1],
        test_accuracy=float(right[test_rows].mean()),
        seconds=seconds,
        state={name: value.detach().clone() for name, value in model.state_dict().items()},
    )
