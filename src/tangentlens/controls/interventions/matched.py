"""One place of a network and the map that carries functions of the input into it, for modes and controls alike.

Directions are found on some inputs (the choosing rows) and tried on others (the scoring rows). Whatever is compared at
a place goes through the same map: modes, principal components and random functions; random directions alone do not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from tangentlens.controls.interventions.directions import parameter_directions, patterns, random_directions, span
from tangentlens.controls.interventions.edits import Edit, shifted, without_directions
from tangentlens.features.functions import random_functions
from tangentlens.kernels.differentiation import plain_attention, without_advice
from tangentlens.models.checks import agreement
from tangentlens.models.functional import Inputs, PickOutput
from tangentlens.models.sites import Site, parameter_site

Space = Literal["inputs", "activations", "parameters"]
# From several values of a site to the outputs of each.
Runs = Callable[[Sequence[Tensor]], list[Tensor]]

_AT_ONCE = 2**24  # numbers of a site's values, or of parameters, that are tried in one pass
_MOST = 64  # values tried in one pass


@dataclass(frozen=True)
class Place:
    """Where interventions take hold.

    Attributes:
        name: of the site.
        space: what its values are.
        scoring: the site over the scoring rows.
        run: from several values of the site to the outputs of each.
        carry: from functions of the choosing rows (n, k) to their unit directions (w, <= k).
        principal: principal components of the choosing rows (n, r), as functions of the input.
        around: (w,) what an ablation projects towards.
        scale: unit of a shift's length.
    """

    name: str
    space: Space
    scoring: Site
    run: Runs
    carry: Callable[[Tensor], Tensor]
    principal: Float[Tensor, "n r"]
    around: Float[Tensor, " w"]
    scale: float

    @property
    def width(self) -> int:
        """Number of values."""
        return self.scoring.values.shape[1]

    def ablation(self, directions: Float[Tensor, "w k"]) -> Edit:
        """Projects the values off the span of some directions."""
        return without_directions(span(directions), self.around)

    def shift(self, directions: Float[Tensor, "w k"], dose: float) -> Edit:
        """Adds `dose` units along the main direction of some."""
        return shifted(main_direction(directions), dose * self.scale)

    def random(self, functions: int, k: int, generator: Generator) -> list[Float[Tensor, "w k"]]:
        """The directions of so many draws of k random functions, through the same map; the first d of them nested."""
        n = len(self.principal)
        return [self.carry(random_functions(n, k, generator)) for _ in range(functions)]

    def isotropic(self, draws: int, k: int, generator: Generator) -> list[Float[Tensor, "w k"]]:
        """So many draws of k directions, uniform in the space of the values."""
        return [random_directions(self.width, min(k, self.width), generator) for _ in range(draws)]


def value_place(name: str, choosing: Site, scoring: Site, run: Runs, k: int) -> Place:
    """Inputs or activations; an ablation projects towards the mean of the choosing rows."""
    return Place(
        name,
        "inputs" if name == "inputs" else "activations",
        scoring,
        run,
        lambda functions: patterns(choosing, functions),
        leading_functions(choosing.values, k),
        choosing.around,
        choosing.scale,
    )


def parameter_place(
    model: nn.Module,
    choosing: Inputs,
    scoring: Inputs,
    principal: Float[Tensor, "n r"],
    *,
    output: PickOutput | None = None,
) -> Place:
    """All trainable parameters, edited on functional copies; the unit of a shift is their norm.

    Args:
        model: the user's, left as it is.
        choosing, scoring: inputs of either rows.
        principal: functions of the choosing rows that stand for principal components, for example those of the outputs.
        output: from what the model returns to its outputs.
    """
    site = parameter_site(model, scoring, output=output)
    return Place(
        "parameters",
        "parameters",
        site,
        vectorised(site),
        lambda functions: parameter_directions(model, choosing, functions, output=output),
        principal,
        site.around,
        site.scale,
    )


def one_by_one(site: Site) -> Runs:
    """A pass for each."""

    def run(values: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return [site.run(each).detach() for each in values]

    return run


def copies_at_once(rows: int, width: int) -> int:
    """How many copies of the rows of a site one pass may hold: 2048 rows, or fewer where they are wide."""
    return max(1, min(_MOST, 2048 // rows, _AT_ONCE // (rows * width)))


def repeated(site: Site, copies: Site) -> Runs:
    """A pass for as many as `copies`, the same site over the same inputs several times over, has copies of the rows."""
    count, alone = len(copies.values) // len(site.values), one_by_one(site)

    def run(values: Sequence[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(values), count):
            chunk = list(values[start : start + count])
            if 2 * len(chunk) <= count and len(chunk) <= 2:
                found += alone(chunk)
                continue
            filled = chunk + [site.values] * (count - len(chunk))
            with torch.no_grad():
                found += copies.run(torch.cat(filled)).detach().chunk(count)[: len(chunk)]
        return found

    return run


def vectorised(site: Site) -> Runs:
    """Parameters: many at once by torch's vmap; one at a time where it cannot, or gives other outputs."""
    count, alone = max(1, min(_MOST, _AT_ONCE // site.values.numel())), one_by_one(site)

    def run(values: Sequence[Tensor]) -> list[Tensor]:
        if count == 1 or len(values) <= 2:
            return alone(values)
        found: list[Tensor] = []
        try:
            with torch.no_grad(), without_advice(), plain_attention():
                for start in range(0, len(values), count):
                    chunk = torch.stack(list(values[start : start + count]))
                    found += torch.func.vmap(site.run, randomness="error")(chunk).detach()
        except (RuntimeError, NotImplementedError, ValueError):
            return alone(values)
        (first,) = alone(values[:1])
        same = torch.allclose(first, found[0], rtol=0, atol=agreement(first.dtype) * float(first.abs().max()))
        return found if same else alone(values)

    return run


def main_direction(directions: Float[Tensor, "w k"]) -> Float[Tensor, " w"]:
    """The unit direction nearest to all of some: the first left singular vector."""
    if directions.shape[1] == 1:
        return directions[:, 0]
    sizes, mixtures = torch.linalg.eigh(directions.T @ directions)
    found: Tensor = directions @ mixtures[:, -1] / sizes[-1].sqrt()
    return found


def leading_functions(values: Float[Tensor, "n w"], k: int) -> Float[Tensor, "n r"]:
    """(n, min(k, rank)) leading left singular vectors of the centred values, by the smaller of their Gram matrices."""
    Z = values.detach().cpu().to(torch.float64)
    Z = Z - Z.mean(dim=0)
    n, w = Z.shape
    sizes, vectors = torch.linalg.eigh(Z @ Z.T if n <= w else Z.T @ Z)
    sizes, vectors = sizes.flip(0)[:k], vectors.flip(1)[:, :k]
    kept = sizes > max(n, w) * torch.finfo(values.dtype).eps * sizes[:1].clamp_min(1e-300)
    found: Tensor = vectors[:, kept] if n <= w else Z @ vectors[:, kept] / sizes[kept].sqrt()
    return found
