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
outputs in units of their variance). The site is the one where the feature stands out most on the choosing half.
p is the rank of its effect among the controls on the scoring half; the controls are drawn until 5 of them reached it
or all are drawn (Besag and Clifford 1991).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from tangentlens.analysis.features import Feature
from tangentlens.analysis.kernel_modes import GroupModes
from tangentlens.analysis.subject import Split
from tangentlens.controls.interventions.directions import span
from tangentlens.models.sites import Site

LEAST = 0.01  # share of the effect of losing a site altogether, below which an effect does not count
_FIRST = 8  # controls at every site, to choose the site
_REACHED = 5  # controls that reach the effect, after which no more are drawn
_SEPARATE = 0.05  # share of a feature's part in the modes that must remain beside the other features

# (N, C) outputs after an intervention -> (N,) what it cost each input
Cost = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Use:
    """What exchanging one feature's direction did.

    Attributes:
        site: where, chosen on the choosing half.
        effect: mean cost over the scoring half.
        control: mean over the controls.
        worst: the largest of them.
        low, high: 95 % interval of effect - control - least, by a bootstrap over the scoring half.
        least: the smallest effect that counts, 1 % of that of the site's loss.
        p: rank among the controls; not corrected.
        drawn: number of controls.
        ablation: mean cost of projecting the direction out.
        confounded: names of the features that it cannot be told from; where there are any, nothing else was measured.
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


def use_of(feature: Feature, modes: GroupModes, setup: Setup, generator: Generator) -> Use:
    """The effect of a feature's direction, at the site where it stands out, beside its controls."""
    others = [each for each in setup.features if each.family != feature.family]
    columns, known = (_columns(chosen, len(feature.values)) for chosen in (others, setup.features))
    own = _part(feature.values, modes.vectors, columns, setup.halves)
    if own is None:
        return Use("", confounded=tuple(dict.fromkeys(each.family for each in others)))
    order = torch.randperm(len(feature.values), generator=generator)

    def control() -> Tensor:
        while True:
            shuffled = feature.values[torch.randperm(len(order), generator=generator)]
            part = _part(shuffled, modes.vectors, known, setup.halves, least=0.0)
            if part is not None:
                return part

    first = [control() for _ in range(_FIRST)]
    name, moves = max(
        ((name, Moves(site, own, order, setup)) for name, site in setup.sites.items()),
        key=lambda pair: pair[1].contrast(first),
    )
    return _at(name, moves, control, setup, generator)


def _at(name: str, moves: "Moves", control: Callable[[], Tensor], setup: Setup, generator: Generator) -> Use:
    rows = setup.halves.test
    own = moves.costs(moves.basis)[rows]
    effect = float(own.mean())
    drawn: list[Tensor] = []
    reached = 0
    while len(drawn) < setup.controls and reached < _REACHED:
        costs = moves.costs(moves.direction(control()))[rows]
        reached += int(float(costs.mean()) >= effect)
        drawn.append(costs)
    p = reached / len(drawn) if reached == _REACHED else (1 + reached) / (1 + len(drawn))
    controls = torch.stack(drawn)
    least = LEAST * abs(float(moves.lost()[rows].mean()))
    excess = own - controls.mean(dim=0) - least
    low, high = _bootstrap(excess, generator)
    return Use(
        name, effect, float(controls.mean()), float(controls.mean(dim=1).max()), low, high, least, p, len(drawn),
        float(moves.without()[rows].mean()),
    )  # fmt: skip


class Moves:
    """Exchanges along directions of one site, all by the lengths of one feature's."""

    def __init__(self, site: Site, part: Tensor, order: Tensor, setup: Setup) -> None:
        self._site, self._cost, self._rows = site, setup.cost, setup.halves.train
        self._centred = (site.values - site.around).to(torch.float64)
        self.basis = self.direction(part)
        amplitudes = self._centred @ self.basis
        self._steps = (amplitudes[order] - amplitudes).to(site.values)  # (N, r)

    def direction(self, part: Float[Tensor, "n r"]) -> Float[Tensor, "w _"]:
        """Orthonormal basis of the patterns of some functions of the choosing half: at most r columns."""
        Z = self._centred[self._rows]
        return span((Z - Z.mean(dim=0)).T @ part)

    def costs(self, basis: Float[Tensor, "w _"]) -> Float[Tensor, " N"]:
        """The cost for each input of the feature's moves along some directions."""
        r = min(basis.shape[1], self._steps.shape[1])
        return self._run(self._site.values + self._steps[:, :r] @ basis[:, :r].to(self._steps).T)

    def without(self) -> Float[Tensor, " N"]:
        """The cost of projecting the feature's direction out."""
        B = self.basis.to(self._site.values)
        return self._run(self._site.values - (self._site.values - self._site.around) @ B @ B.T)

    def lost(self) -> Float[Tensor, " N"]:
        """The cost of replacing the site's values by their mean."""
        return self._run(self._site.around.expand_as(self._site.values))

    def contrast(self, controls: Sequence[Tensor]) -> float:
        """How far the feature's cost on the choosing half stands above that of some controls, in their spread."""
        own = float(self.costs(self.basis)[self._rows].mean())
        others = torch.tensor([float(self.costs(self.direction(each))[self._rows].mean()) for each in controls])
        return (own - float(others.mean())) / (float(others.std()) + 1e-3 * abs(own) + 1e-12)

    def _run(self, values: Tensor) -> Float[Tensor, " N"]:
        with torch.no_grad():
            return self._cost(self._site.run(values)).to(torch.float64)


def _part(
    values: Float[Tensor, "N r"],
    vectors: Float[Tensor, "N k"],
    others: Float[Tensor, "N m"],
    halves: Split,
    *,
    least: float = _SEPARATE,
) -> Float[Tensor, "n r"] | None:
    """A feature's part in the modes on the choosing half, free of other features.

    None where the other features predict all but a share `least` of its variance.
    """
    rows = halves.train
    target = values[rows] - values[rows].mean(dim=0)
    Q = torch.linalg.qr(vectors[rows] - vectors[rows].mean(dim=0)).Q
    U = _basis(others[rows]) if others.shape[1] else target[:, :0]
    own = target - U @ (U.T @ target)
    part = Q @ (Q.T @ own)
    part = part - U @ (U.T @ part)
    before, after = float(target.square().sum()), float(own.square().sum())
    return part if after > least * before and float(part.square().sum()) > 1e-12 * before else None


def _basis(columns: Float[Tensor, "n m"]) -> Float[Tensor, "n r"]:
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


def _bootstrap(values: Float[Tensor, " n"], generator: Generator, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of a mean."""
    rows = torch.randint(len(values), (draws, len(values)), generator=generator)
    low, high = values[rows].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high
