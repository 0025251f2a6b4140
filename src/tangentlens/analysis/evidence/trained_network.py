"""A trained network with its inputs, features and modes, and what these are compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tangentlens.analysis.subject import Split
from tangentlens.controls.interventions.effects import Evaluation, Loss
from tangentlens.models.outputs import PickOutput
from tangentlens.models.sites import Site


@dataclass(frozen=True)
class Modes:
    """The leading modes of one kernel, cut as the steps compare them.

    Attributes:
        leading: (N, d) what is compared with as many functions of every baseline.
        seconds: what the modes cost.
        ordered: (N, k) functions with mean zero, taken out one after another.
        removed: how many of them at each point of that curve.
        blocks: name -> (N, _) blocks taken out one by one, each of about `size` dimensions.
        size: dimension of the controls of one block.
        whole: (N, _) all blocks together, as they are taken out, of about `both` dimensions.
        both: dimension of the controls of all blocks.
        moved: name -> (N, _) functions along whose patterns inputs and activations move.
    """

    leading: Float[Tensor, "N _"]
    seconds: float
    ordered: Float[Tensor, "N _"]
    removed: Sequence[int]
    blocks: Mapping[str, Float[Tensor, "N _"]]
    size: int
    whole: Float[Tensor, "N _"]
    both: int
    moved: Mapping[str, Float[Tensor, "N _"]]


@dataclass(frozen=True)
class Curves:
    """A network along training, at E checkpoints.

    Attributes:
        epochs: (E,) of the checkpoints.
        accuracy, loss: (E,) on the test rows.
        overlap: (E,) of the modes with the features.
        null_overlaps: (E, R) of the same modes with random feature spaces of the same dimension.
        threshold: test accuracy whose crossing is the onset.
    """

    epochs: Float[Tensor, " E"] | Tensor
    accuracy: Float[Tensor, " E"]
    loss: Float[Tensor, " E"]
    overlap: Float[Tensor, " E"]
    null_overlaps: Float[Tensor, "E R"]
    threshold: float


def stored_curves(arrays: Mapping[str, Tensor], threshold: float) -> Curves:
    """The curves of a stored seed; a run of before has no overlaps of random feature spaces."""
    epochs = arrays["epoch"]
    return Curves(
        epochs=epochs,
        accuracy=arrays["test.accuracy"],
        loss=arrays["test.loss"],
        overlap=arrays["overlap.sum"],
        null_overlaps=arrays.get("overlap.null", torch.zeros(len(epochs), 0)),
        threshold=threshold,
    )


class NullOverlaps(NamedTuple):
    """Overlaps under a null model: name -> percent; and the train accuracy in percent, where it was trained."""

    percents: Mapping[str, float]
    train_accuracy: float | None = None


class Space(NamedTuple):
    """A number of modes, and the family of features that they are compared with."""

    modes: int
    family: str


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with what the steps need; what is None is absent, and the steps that need it are left out.

    Attributes:
        name: what keys of figures call it.
        seed: of its data, weights and training.
        model: any module.
        inputs: what it is called with, N of them.
        labels: (N,) the right output of every input.
        split: rows that it was trained on, and rows held out.
        loss: of outputs and labels, to a scalar.
        example_loss: of the model's outputs and labels, to (N,) losses.
        features: family -> (N, r) orthonormal basis of centred features.
        followed: the families whose amplitude in the outputs is followed when something is taken out.
        sites: name -> place where values are read and edited, in the order of the network.
        read: the site that the last layer reads.
        modes: of its kernel.
        random: purpose -> source of random numbers of its own.
        output: picks the outputs that count; None for all.
        nulls: name -> the overlaps of a network, or inputs, that cannot have learned the features; made when called.
        spaces: name of an overlap -> what it is of, for random subspaces in its place.
        curves: along training.
    """

    name: str
    seed: int
    model: nn.Module
    inputs: Tensor
    labels: Int[Tensor, " N"]
    split: Split
    loss: Loss
    example_loss: Callable[[Tensor, Tensor], Tensor]
    features: Mapping[str, Float[Tensor, "N _"]]
    followed: Sequence[str]
    sites: Mapping[str, Site]
    read: str
    modes: Modes
    random: Callable[[str], torch.Generator]
    output: PickOutput | None = None
    nulls: Mapping[str, Callable[[], NullOverlaps]] | None = None
    spaces: Mapping[str, Space] | None = None
    curves: Curves | None = None

    @property
    def evaluation(self) -> Evaluation:
        """What an intervention is evaluated by: the test rows, and the families followed."""
        families = {name: self.features[name] for name in self.followed}
        return Evaluation(self.labels, self.split.test, self.loss, families)
