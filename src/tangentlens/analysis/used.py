"""Whether the network uses a feature: its direction exchanged between inputs, beside matched controls.

The direction of a feature f at a site with values Z is the pattern Z^T q of its part q in the modes,

    q = (I - P_others) Q Q^+ (I - P_others) f,

Q the modes of a group and P_others the projection on the other features that the user gave, so that a feature is not
called used for what it shares with another. All of it is computed on the choosing half. The intervention exchanges the
values along the direction between inputs: with B an orthonormal basis of it and a = B^T (z - mean), z_i becomes
z_i + B (a_j - a_i), j from a random permutation. A control is the same map applied to the feature in a random order,
free of all given features, and moves each input by the same length along its own direction. So feature and control
are matched in dimension, in origin and in norm.

The effect is the mean increase of the loss over the scoring half (without targets, the mean squared change of the
outputs in units of their variance). Each control is made twice, with the lengths of the feature's moves and with its
own, since a random direction may matter by the one and not by the other; p is the larger of the effect's two ranks
among them. Controls are drawn until 5 of them reached it in either way, or all are drawn (Besag and Clifford 1991).
The site is the first of the network from which the feature can be read nearly as well as from any, by a ridge
regression within the choosing half: a choice by the effect itself would have to be repeated for every control.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from tangentlens.analysis.features import Feature
from tangentlens.analysis.kernel_modes import GroupModes
from tangentlens.analysis.resampling import bootstrap_weights, mean_interval
from tangentlens.analysis.subject import Split
from tangentlens.controls.interventions.directions import span
from tangentlens.models.sites import Site

LEAST = 0.01  # share of the effect of losing a site altogether, below which an effect does not count
_NEARLY = 0.9  # of the best readout of a feature from any site
_RIDGE = 0.1  # of a readout, in units of the mean squared length of the centred rows
_RESAMPLES = 1000  # bootstrap samples of the scoring half
_REACHED = 5  # controls that reach the effect, after which no more are drawn
_SEPARATE = 0.05  # share of a feature's part in the modes that must remain beside the other features

# (N, C) outputs after an intervention -> (N,) what it cost each input
Cost = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Use:
    """What exchanging one feature's direction did.

    Attributes:
        site: where: `Setup.readable`.
        effect: mean cost over the scoring half.
        control: mean over the controls, of the way of moving in which they cost more.
        worst: the largest control of either way.
        low, high: 95 % interval of effect - control - least, by a bootstrap over the scoring half.
        least: the smallest effect that counts, 1 % of that of the site's loss.
        p: rank among the controls; not corrected.
        drawn: number of controls.
        ablation: mean cost of projecting the direction out.
        confounded: names of the features that it cannot be separated from; with any, nothing else was measured.
    """

    site: str
    effect: float = float("nan")
    control: float = float("nan")
    worst: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    least: float = float("nan")
    p: float = float("nan")
    drawn: int = 0
    ablation: float = float("nan")
    confounded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What interventions on one network share.

    Attributes:
        sites: where to intervene.
        cost: of outputs, for each input.
        halves: to choose on, and to score on.
        features: all that the user gave.
        controls: drawn at most for each feature.
    """

    sites: Mapping[str, Site]
    cost: Cost
    halves: Split
    features: Sequence[Feature]
    controls: int

    @cached_property
    def readable(self) -> dict[str, str]:
        """For each feature the first site from which it can be read nearly as well as from the best one."""
        columns = [each.values[self.halves.train] for each in self.features]
        scores = {name: readouts(site.values[self.halves.train], columns) for name, site in self.sites.items()}
        return {each.name: _first_near_best(scores, place) for place, each in enumerate(self.features)}


def _first_near_best(scores: Mapping[str, Sequence[float]], place: int) -> str:
    best = max(each[place] for each in scores.values())
    return next(name for name, each in scores.items() if each[place] >= (_NEARLY * best if best > 0 else best))


def use_of(feature: Feature, modes: GroupModes, setup: Setup, generator: Generator) -> Use:
    """The effect of a feature's direction, at the site where it can be read, beside its controls."""
    others = [each for each in setup.features if each.family != feature.family]
    N, rows = len(feature.values), setup.halves.train
    Q = torch.linalg.qr(modes.vectors[rows] - modes.vectors[rows].mean(dim=0)).Q
    beside, known = (_basis(_columns(chosen, N)[rows]) for chosen in (others, setup.features))
    own = _part(feature.values[rows], Q, beside)
    if own is None:
        return Use("", confounded=tuple(dict.fromkeys(each.family for each in others)))
    order = torch.randperm(N, generator=generator)

    def control() -> Tensor:
        while True:
            shuffled = feature.values[torch.randperm(N, generator=generator)]
            part = _part(shuffled[rows], Q, known, least=0.0)
            if part is not None:
                return part

    name = setup.readable[feature.name]
    return _at(name, Moves(setup.sites[name], own, order, setup), control, setup, generator)


def readouts(Z: Float[Tensor, "n w"], features: Sequence[Float[Tensor, "n _"]]) -> list[float]:
    """R^2 of each feature on every second row, of ridge regressions fitted on the others, its columns together."""
    fitted, read = (slice(start, None, 2) for start in (0, 1))
    mean = Z[fitted].mean(dim=0)
    A, B = ((Z[rows] - mean).to(torch.float64) for rows in (fitted, read))
    Y = torch.cat(list(features), dim=1)
    Y = Y - Y[fitted].mean(dim=0)
    kernel = A @ A.T
    kernel.diagonal().add_(_RIDGE * kernel.diagonal().mean().clamp_min(1e-30))
    missed = Y[read] - B @ (A.T @ torch.linalg.solve(kernel, Y[fitted]))
    widths = [each.shape[1] for each in features]
    pairs = zip(missed.split(widths, dim=1), Y[read].split(widths, dim=1), strict=True)
    return [1 - float(left.square().sum() / wanted.square().sum().clamp_min(1e-30)) for left, wanted in pairs]


def _at(name: str, moves: "Moves", control: Callable[[], Tensor], setup: Setup, generator: Generator) -> Use:
    rows = setup.halves.test
    own = moves.costs(moves.basis)[rows]
    effect = float(own.mean())
    drawn: list[Tensor] = []
    reached = torch.zeros(2, dtype=torch.int64)
    while len(drawn) < setup.controls and int(reached.max()) < _REACHED:
        basis = moves.direction(control())
        drawn.append(torch.stack([moves.costs(basis)[rows], moves.costs(basis, own=True)[rows]]))
        reached += drawn[-1].mean(dim=1) >= effect
    most = int(reached.max())
    p = most / len(drawn) if most == _REACHED else (1 + most) / (1 + len(drawn))
    means = torch.stack(drawn).mean(dim=0)  # (2, n)
    worst = float(torch.stack(drawn).mean(dim=2).max())
    stronger = means[int(means.mean(dim=1).argmax())]
    least = LEAST * abs(float(moves.lost()[rows].mean()))
    low, high = mean_interval(own - stronger - least, bootstrap_weights(len(rows), _RESAMPLES, generator))
    ablation = float(moves.without()[rows].mean())
    return Use(name, effect, float(stronger.mean()), worst, low, high, least, p, len(drawn), ablation)


class Moves:
    """Exchanges along directions of one site, by the lengths of one feature's or by those of the direction itself."""

    def __init__(self, site: Site, part: Tensor, order: Tensor, setup: Setup) -> None:
        self._site, self._cost, self._rows, self._order = site, setup.cost, setup.halves.train, order
        self._centred = (site.values - site.around).to(torch.float64)
        self.basis = self.direction(part)
        self._steps = self._exchanged(self.basis)

    def direction(self, part: Float[Tensor, "n r"]) -> Float[Tensor, "w _"]:
        """Orthonormal basis of the patterns of some functions of the choosing half."""
        Z = self._centred[self._rows]
        return span((Z - Z.mean(dim=0)).T @ part)

    def _exchanged(self, basis: Float[Tensor, "w r"]) -> Float[Tensor, "N r"]:
        """How far each input moves along each direction when the values along them change places."""
        amplitudes = self._centred @ basis
        return (amplitudes[self._order] - amplitudes).to(self._site.values)

    def costs(self, basis: Float[Tensor, "w r"], *, own: bool = False) -> Float[Tensor, " N"]:
        """The cost for each input of moves along some directions, of the feature's lengths or of their own."""
        steps = self._exchanged(basis) if own else self._steps
        r = min(basis.shape[1], steps.shape[1])
        return self._run(self._site.values + steps[:, :r] @ basis[:, :r].to(steps).T)

    def without(self) -> Float[Tensor, " N"]:
        """The cost of projecting the feature's direction out."""
        B = self.basis.to(self._site.values)
        return self._run(self._site.values - (self._site.values - self._site.around) @ B @ B.T)

    def lost(self) -> Float[Tensor, " N"]:
        """The cost of replacing the site's values by their mean."""
        return self._run(self._site.around.expand_as(self._site.values))

    def _run(self, values: Tensor) -> Float[Tensor, " N"]:
        with torch.no_grad():
            return self._cost(self._site.run(values)).to(torch.float64)


def _part(
    values: Float[Tensor, "n r"], Q: Float[Tensor, "n k"], others: Float[Tensor, "n m"], *, least: float = _SEPARATE
) -> Float[Tensor, "n r"] | None:
    """A feature's part in the span of the modes on the choosing half, free of other features.

    None where the other features predict all but a share `least` of its variance.

    Args:
        values: of the feature.
        Q, others: orthonormal bases of the centred modes and of the other features.
        least: share of the variance.
    """
    target = values - values.mean(dim=0)
    own = target - others @ (others.T @ target)
    part = Q @ (Q.T @ own)
    part = part - others @ (others.T @ part)
    before, after = float(target.square().sum()), float(own.square().sum())
    return part if after > least * before and float(part.square().sum()) > 1e-12 * before else None


def _basis(columns: Float[Tensor, "n m"]) -> Float[Tensor, "n r"]:
    """Orthonormal basis of the centred columns."""
    if columns.shape[1] == 0:
        return columns
    U, sizes, _ = torch.linalg.svd(columns - columns.mean(dim=0), full_matrices=False)
    kept: Tensor = U[:, sizes > 1e-8 * sizes[0]]
    return kept


def _columns(features: Sequence[Feature], N: int) -> Float[Tensor, "N m"]:
    """The columns of some features in units of their spread; a space stands for its classes too."""
    chosen = [each.values for each in features]
    if not chosen:
        return torch.zeros(N, 0, dtype=torch.float64)
    columns = torch.cat(chosen, dim=1)
    return (columns - columns.mean(dim=0)) / columns.std(dim=0).clamp_min(1e-12)
