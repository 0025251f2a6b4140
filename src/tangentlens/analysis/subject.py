"""What is analysed: a model, its inputs, and whatever else its owner has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from tangentlens.models.outputs import PickOutput


@dataclass(frozen=True)
class Split:
    """Disjoint rows for training and for testing, each in ascending order; together they are all rows."""

    train: Int[Tensor, " n_train"]
    test: Int[Tensor, " n_test"]


@dataclass(frozen=True)
class Subject:
    """A model of one's own to analyse; every field but the first two may be absent.

    Attributes:
        model: any torch module, trained, in eval mode.
        inputs: a tensor, an array, a tuple or a dict of such, a Dataset or a DataLoader.
        features: name -> one value, or one row, for each input; or a data frame (`read_features`).
        targets: one for each input; taken from a data set's labels where it has them.
        loss: of outputs and targets (`example_loss`).
        groups, outputs, output: of the kernel, as `entk` takes them.
        split: rows to choose on and to score on (`halves`).
        untrained: what trained scores are compared with (`untrained_models`).
        retrained: name -> the model trained on something else, permuted labels for example.
        checkpoints: epoch or step -> state; a folder, a glob or a sequence of files.
        sites: where activations are read and edited (`model_sites`).
        show: how an input is shown: "image", "text", "table", "series", a sequence, or index -> shown
            (`read_shown`).
        train: (model, inputs, targets) -> trained model; retrains an untrained one on permuted targets.
        columns: names of the columns of table rows.
    """

    model: nn.Module
    inputs: Any
    features: Any = None
    targets: Any = None
    loss: Any = None
    groups: Any = "module"
    outputs: Any = "trace"
    output: PickOutput | None = None
    split: Any = None
    untrained: Any = None
    retrained: Mapping[str, Any] | None = None
    checkpoints: Any = None
    sites: Any = "auto"
    show: Any = None
    train: Any = None
    columns: Sequence[str] | None = None
