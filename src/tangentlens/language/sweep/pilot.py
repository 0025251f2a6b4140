"""A pilot on few windows finds the output directions of a sweep.

What matters of an output direction is how much of the modes lies along it, in whatever windows the modes live. So the
pilot (1) measures with one random direction how strongly every window responds, for modes live where that is large, and
draws its windows accordingly; (2) takes the leading modes of every group on some of them, from rough directions; and
(3) pushes random combinations of the modes' parameter directions forward through more of them. What comes out lies in
all d coordinates, also outside the rough directions, and its leading directions are those of the sweep.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangentlens.kernels.groups import Group
from tangentlens.kernels.tracing.parameter_views import pull_back_rows
from tangentlens.language.geometry import LogitGeometry
from tangentlens.language.sweep.approximate_modes import approximate_modes
from tangentlens.language.sweep.backward import backward_sweep
from tangentlens.language.sweep.compressed import CompressedKernel, pull
from tangentlens.language.sweep.cotangents import cotangents
from tangentlens.language.sweep.full_kernel import FullKernel
from tangentlens.language.sweep.group_factors import GroupFactors, complete, flat
from tangentlens.language.sweep.output_basis import leading_directions, range_directions
from tangentlens.language.sweep.planning import PlannedStage
from tangentlens.language.sweep.truncation import token_energy
from tangentlens.language.sweep.workspace import in_memory
from tangentlens.progress import Progress, silent

WINDOWS = 16  # on which modes are found, where nothing else is asked for
COMBINATIONS = 8  # of the modes' parameter directions, in memory together for all groups
_MODES, _TOLERANCE = 25, 0.3  # of every group; their space need not be exact
_ROUNDING = 1e-8  # share of the first eigenvalue: what is smaller is no mode
_MORE = 4  # times as many windows see the combinations as the modes are found on
_LESS = 3  # times fewer windows give the rough directions
_FORWARD = 2  # a forward-mode product in backward passes, measured on a model of 270M parameters


@dataclass(frozen=True)
class Pilot:
    """All windows of a sweep, of which a pilot takes some.

    Attributes:
        planned: the model's stages, and the groups' parameters in them.
        groups: whose modes count, all alike.
        inputs: of every planned stage, for all windows.
        hidden: (N, d), the final hidden states.
        units: the geometry of the logits.
        seed: of all that is random.
        progress: receives the steps.
    """

    planned: Sequence[PlannedStage]
    groups: Sequence[Group]
    inputs: Sequence[Mapping[str, Tensor]]
    hidden: Float[Tensor, "N d"]
    units: LogitGeometry
    seed: int
    progress: Progress

    def on(self, rows: Tensor | slice) -> list[dict[str, Tensor]]:
        """The inputs of every planned stage for some windows."""
        return [{name: tensor[rows] for name, tensor in stage.items()} for stage in self.inputs]

    def kernel(self, rows: Int[Tensor, " n"]) -> FullKernel:
        """Of all groups together on some windows, matrix-free."""
        factors = self.units.factors(self.hidden[rows])
        names = [name for group in self.groups for name in group.parameters]
        return FullKernel(self.planned, self.on(rows), factors, names, "all groups")

    def factors(self, rows: Tensor | slice, basis: Float[Tensor, "d r"]) -> Iterator[tuple[Group, GroupFactors]]:
        """Of every group on some windows in these directions, group by group."""
        values = cotangents(self.units, self.hidden[rows], basis).values
        passing = backward_sweep(self.planned, self.on(rows), values, in_memory(), silent)
        return complete(self.groups, self.planned, passing)


def pilot_directions(pilot: Pilot, directions: int, windows: int) -> Float[Tensor, "d r"]:
    """Orthonormal output directions that hold most of the leading modes of every group.

    Args:
        pilot: what it works on.
        directions: r < d.
        windows: on which the modes are found; four times as many see their parameter directions.
    """
    drawn = _drawn(_responses(pilot), min(_MORE * windows, len(pilot.hidden)), pilot.seed)
    pilot.progress("pilot", 1, 4)
    rough = range_directions(pilot.kernel(drawn[: _few(windows)]), directions, seed=pilot.seed)
    pilot.progress("pilot", 2, 4)
    moves = _moves(pilot, drawn[:windows], rough)
    pilot.progress("pilot", 3, 4)
    pushed = pilot.kernel(drawn).push(moves).double().unflatten(0, (len(drawn), -1))  # (n, d, s)
    pilot.progress("pilot", 4, 4)
    return leading_directions(pushed, directions)


def pilot_passes(total: int, directions: int, windows: int = WINDOWS) -> int:
    """Cost of a pilot on `total` windows, in backward passes of one window and direction through all stages."""
    most = min(_MORE * windows, total)
    found, rough = min(windows, total), min(_few(windows), total)
    return total + directions * (rough * (1 + _FORWARD) + found) + COMBINATIONS * most * _FORWARD


def _few(windows: int) -> int:
    return max(2, windows // _LESS)


def _responses(pilot: Pilot) -> Float[Tensor, " N"]:
    """How strongly every window's output along one random direction responds to the groups, as shares summed over them.

    The modes' mass on the windows follows it closely: on 256 windows of a model of 270M parameters the 64 strongest
    held 48 % of the mass of 18 x 25 modes, of 52 % that any 64 windows held.
    """
    d = pilot.hidden.shape[1]
    direction = torch.randn(d, 1, generator=torch.Generator().manual_seed(pilot.seed), dtype=torch.float64)
    found = torch.zeros(len(pilot.hidden), dtype=torch.float64)
    for _, views in pilot.factors(slice(None), (direction / direction.norm()).to(pilot.hidden.device)):
        energy = sum(token_energy(use).sum(1) for view in flat(views) for use in view.uses)
        share = torch.as_tensor(energy).cpu()
        found += share / share.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return found


def _drawn(weights: Float[Tensor, " N"], count: int, seed: int) -> Int[Tensor, " n"]:
    """So many different windows, drawn one after another in proportion to their weights."""
    floor = torch.finfo(torch.float32).eps * weights.max().clamp_min(torch.finfo(torch.float64).tiny)
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(weights.clamp_min(floor), count, replacement=False, generator=generator)


def _moves(pilot: Pilot, rows: Int[Tensor, " n"], rough: Float[Tensor, "d r"]) -> dict[str, Tensor]:
    """Random combinations of every group's modes as directions of its parameters: name -> (s, *shape).

    With u = J^T v / lambda the outputs J u of a mode are v itself on its windows, so that every mode counts alike.
    """
    generator = torch.Generator().manual_seed(pilot.seed)
    views_of = {
        full: (stage.plan.parameters[name].views, stage.view.trainable[name])
        for stage in reversed(pilot.planned)
        for name, full in stage.names.items()
    }
    moves: dict[str, Tensor] = {}
    for group, views in pilot.factors(rows, rough):
        kernel = CompressedKernel(flat(views), rough.shape[1], group.name)
        pairs = approximate_modes(kernel, _MODES, _TOLERANCE, pilot.hidden.shape[1]).pairs
        there = pairs.values > _ROUNDING * pairs.values[0]
        mixing = torch.randn(int(there.sum()), COMBINATIONS, generator=generator, dtype=torch.float64)
        combined = (pairs.vectors[:, there] / pairs.values[there]) @ mixing.to(pairs.vectors)
        for name, own in views.items():
            made, parameter = views_of[name]
            pulled = [
                pull_back_rows(view, parameter, pull(factors, combined.to(kernel.dtype), slice(0, rough.shape[1])))
                for view, factors in zip(made, own, strict=True)
            ]
            moves[name] = sum(pulled[1:], start=pulled[0]).unflatten(1, parameter.shape)
    return moves
