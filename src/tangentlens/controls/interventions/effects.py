"""Effects of an intervention on loss, accuracy, the distribution over labels, and single features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.controls.interventions.edits import Edit
from tangentlens.models.sites import Site

# (n, C) outputs and (n,) labels to a scalar
Loss = Callable[[Tensor, Tensor], Tensor]

_ABSENT = 1e-3  # share of the outputs' variation below which a family counts as absent from them


@dataclass(frozen=True)
class Effect:
    """The model after an intervention, beside itself before it.

    Attributes:
        accuracy: percent of the rows evaluated whose largest output is at the label, after.
        loss: on the rows evaluated, after.
        loss_change: after less before.
        divergence: mean over the rows evaluated of KL(softmax before || softmax after), nats.
        change: ||F' - F|| / ||F - mean of F over inputs||, over the rows evaluated: the change of the outputs in
            units of their variation.
        kept: feature family -> percent of its amplitude in the outputs that is left: with B an orthonormal basis of
            the family over all inputs, 100 <B B^T F, F'> / ||B B^T F||^2. 100 where nothing happened to the family, 0
            where it is gone, negative where it is turned round; NaN where the outputs never held the family (less than
            a thousandth of their variation).
    """

    accuracy: float
    loss: float
    loss_change: float
    divergence: float
    change: float
    kept: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Labels, rows, loss and feature families by which the effect of an intervention is measured.

    Attributes:
        labels: (N,) the right output of every input.
        rows: (n,) the inputs that count for loss, accuracy, divergence and change: the test rows.
        loss: of outputs and labels.
        families: name -> (N, r) orthonormal basis of a feature family over all inputs.
    """

    labels: Int[Tensor, " N"]
    rows: Int[Tensor, " n"]
    loss: Loss
    families: Mapping[str, Float[Tensor, "N r"]]

    def __call__(self, before: Float[Tensor, "N C"], after: Float[Tensor, "N C"]) -> Effect:
        """The effect of an intervention that turned the outputs `before` into `after`."""
        rows, labels = self.rows, self.labels[self.rows]
        losses = [float(self.loss(outputs[rows], labels)) for outputs in (before, after)]
        logs = [outputs[rows].log_softmax(dim=1) for outputs in (before, after)]
        return Effect(
            accuracy=100 * float((after[rows].argmax(dim=1) == labels).double().mean()),
            loss=losses[1],
            loss_change=losses[1] - losses[0],
            divergence=float((logs[0].exp() * (logs[0] - logs[1])).sum(dim=1).mean()),
            change=relative_change(before[rows], after[rows]),
            kept={name: amplitude_kept(before, after, basis) for name, basis in self.families.items()},
        )


def effect_of(site: Site, edit: Edit, evaluation: Evaluation) -> Effect:
    """Apply an edit at a site and measure its effect."""
    with torch.no_grad():
        return evaluation(site.run(site.values), site.run(edit(site.values)))


def variance_removed(site: Site, edit: Edit) -> float:
    """Percent of the site's squared distance from `around` that an ablation takes away."""
    rest = (edit(site.values) - site.around).to(torch.float64).square().sum()
    return 100 * (1 - float(rest / (site.values - site.around).to(torch.float64).square().sum()))


def relative_change(before: Float[Tensor, "n C"], after: Float[Tensor, "n C"]) -> float:
    """||after - before|| / ||before less its mean over rows||."""
    spread = torch.linalg.matrix_norm(before - before.mean(dim=0))
    return float(torch.linalg.matrix_norm(after - before) / spread)


def amplitude_kept(before: Float[Tensor, "N C"], after: Float[Tensor, "N C"], basis: Float[Tensor, "N r"]) -> float:
    """Percent of a family's amplitude in the outputs that is left; see Effect.kept."""
    B = basis.to(torch.float64)
    held, left = (B.T @ outputs.to(torch.float64) for outputs in (before, after))  # (r, C)
    power = float(held.square().sum())
    centred = (before - before.mean(dim=0)).to(torch.float64)
    if power <= _ABSENT * float(centred.square().sum()):
        return float("nan")
    return 100 * float((held * left).sum()) / power
