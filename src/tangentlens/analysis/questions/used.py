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
from jaxtyping import Float, Int
from torch import Generator, Tensor

from tangentlens.analysis.arguments.features import Feature
from tangentlens.analysis.interventions.intervention_places import Rows, Spot
from tangentlens.analysis.modes.kernel_modes import GroupModes
from tangentlens.analysis.questions.resampling import bootstrap_weights, mean_interval
from tangentlens.controls.interventions.directions import span
from tangentlens.models.sites import Site

LEAST = 0.01  # share of the effect of losing a site altogether, below which an effect does not count
_NEARLY = 0.75  # of the best readout of a feature from any site
_RIDGE = 0.1  # of a readout, in units of the mean squared length of the centred rows
_RESAMPLES = 1000  # bootstrap samples of the scoring half
_REACHED = 5  # controls that reach the effect, after which no more are drawn
_TOGETHER = 8  # controls at a time
_SEPARATE = 0.05  # share of a feature's part in the modes that must remain beside the other features

# (n, C) outputs of some inputs after an intervention, and which inputs -> (n,) what it cost each
Cost = Callable[[Tensor, Tensor], Tensor]


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
        spot: a site by name, over the rows.
        cost: of outputs, for each input.
        rows: to choose on, and to score on.
        features: all that the user gave.
        controls: drawn at most for each feature.
    """

    sites: Mapping[str, Site]
    spot: Callable[[str], Spot]
    cost: Cost
    rows: Rows
    features: Sequence[Feature]
    controls: int

    @cached_property
    def readable(self) -> dict[str, str]:
        """For each feature the first site from which it can be read nearly as well as from the best one."""
        columns = [each.values[self.rows.choosing] for each in self.features]
        scores = {name: readouts(site.values[self.rows.choosing], columns) for name, site in self.sites.items()}
        return {each.name: _first_near_best(scores, place) for place, each in enumerate(self.features)}


def _first_near_best(scores: Mapping[str, Sequence[float]], place: int) -> str:
    best = max(each[place] for each in scores.values())
    return next(name for name, each in scores.items() if each[place] >= (_NEARLY * best if best > 0 else best))


def use_of(feature: Feature, modes: GroupModes, setup: Setup, generator: Generator) -> Use:
    """The effect of a feature's direction, at the site where it can be read, beside its controls."""
    others = [each for each in setup.features if each.family != feature.family]
    N, rows = len(feature.values), setup.rows.choosing
    Q = torch.linalg.qr(modes.vectors[rows] - modes.vectors[rows].mean(dim=0)).Q
    beside, known = (_basis(_columns(chosen, N)[rows]) for chosen in (others, setup.features))
    own = _part(feature.values[rows], Q, beside)
    if own is None:
        return Use("", confounded=tuple(dict.fromkeys(each.family for each in others)))
    order = torch.randperm(len(setup.rows.scoring), generator=generator)

    def control() -> Tensor:
        while True:
            shuffled = feature.values[torch.randperm(N, generator=generator)]
            part = _part(shuffled[rows], Q, known, least=0.0)
            if part is not None:
                return part

    name = setup.readable[feature.name]
    return _at(name, Moves(name, own, order, setup), control, setup, generator)


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
    own = moves.costs([moves.basis])[0, 0]
    effect = float(own.mean())
    drawn: list[Tensor] = []
    reached = torch.zeros(2, dtype=torch.int64)
    while len(drawn) < setup.controls and int(reached.max()) < _REACHED:
        count = min(_TOGETHER, setup.controls - len(drawn))
        for each in moves.costs([moves.direction(control()) for _ in range(count)]):
            drawn.append(each)
            reached += each.mean(dim=1) >= effect
            if int(reached.max()) == _REACHED:
                break
    most = int(reached.max())
    p = most / len(drawn) if most == _REACHED else (1 + most) / (1 + len(drawn))
    means = torch.stack(drawn).mean(dim=0)  # (2, n)
    worst = float(torch.stack(drawn).mean(dim=2).max())
    stronger = means[int(means.mean(dim=1).argmax())]
    least = LEAST * abs(float(moves.lost().mean()))
    low, high = mean_interval(own - stronger - least, bootstrap_weights(len(own), _RESAMPLES, generator))
    ablation = float(moves.without().mean())
    return Use(name, effect, float(stronger.mean()), worst, low, high, least, p, len(drawn), ablation)


class Moves:
    """Exchanges along directions of one site, by the lengths of one feature's or by those of the direction itself.

    Directions come from the choosing half; the model is run on the scoring half alone.

    Args:
        name: of the site.
        part: the feature's, on the choosing half.
        order: permutation of the scoring rows: row i takes the value of row order[i].
        setup: of all interventions.
    """

    def __init__(self, name: str, part: Float[Tensor, "n r"], order: Int[Tensor, " m"], setup: Setup) -> None:
        self._spot, self._setup = setup.spot(name), setup
        choosing, scoring = self._spot.choosing, self._spot.scoring
        centred = choosing.values - choosing.values.mean(dim=0)
        self._chosen = centred.to(torch.float64)
        self._values = scoring.values - choosing.around
        self._others = self._values[order]
        self.basis = self.direction(part)
        self._steps = self._exchanged(self.basis)

    def direction(self, part: Float[Tensor, "n r"]) -> Float[Tensor, "w _"]:
        """Orthonormal basis of the patterns of some functions of the choosing half."""
        return span(self._chosen.T @ part)

    def _exchanged(self, basis: Float[Tensor, "w r"]) -> Float[Tensor, "m r"]:
        """How far each input moves along each direction when the values along them change places."""
        steps: Tensor = (self._others - self._values) @ basis.to(self._values)
        return steps

    def costs(self, bases: Sequence[Float[Tensor, "w _"]]) -> Float[Tensor, "B 2 m"]:
        """The cost for each input of moves along directions: of the feature's lengths, and of their own."""
        costs = self._run([shift for basis in bases for shift in self.shifts(basis)])
        paired: Tensor = costs.unflatten(0, (-1, 2))
        return paired

    def shifts(self, basis: Float[Tensor, "w r"]) -> tuple[Float[Tensor, "m w"], Float[Tensor, "m w"]]:
        """How the values move along directions: by the feature's lengths, and by their own."""
        directions = basis.to(self._values)
        r = min(directions.shape[1], self._steps.shape[1])
        return self._steps[:, :r] @ directions[:, :r].T, self._exchanged(basis) @ directions.T

    def without(self) -> Float[Tensor, " m"]:
        """The cost of projecting the feature's direction out."""
        B = self.basis.to(self._values)
        return self._run([-self._values @ B @ B.T])[0]

    def lost(self) -> Float[Tensor, " m"]:
        """The cost of replacing the site's values by their mean."""
        return self._run([-self._values])[0]

    def _run(self, shifts: Sequence[Float[Tensor, "m w"]]) -> Float[Tensor, "S m"]:
        values = self._spot.scoring.values
        outputs = self._spot.run([values + shift for shift in shifts])
        rows = self._setup.rows.scoring
        return torch.stack([self._setup.cost(each, rows) for each in outputs]).to(torch.float64)


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
