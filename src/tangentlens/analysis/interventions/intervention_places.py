"""The places of a case where interventions are tried, one at a time: directions on some rows, effects on others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from tangentlens.analysis.case import Case
from tangentlens.controls.interventions.matched import (
    Place,
    Runs,
    copies_at_once,
    leading_functions,
    one_by_one,
    parameter_place,
    repeated,
    value_place,
)
from tangentlens.models.inputs import take
from tangentlens.models.sites import Site, input_site, leaving

CHOOSING, SCORING = 1024, 256  # rows at most


@dataclass(frozen=True)
class Rows:
    """The rows of an intervention.

    Attributes:
        choosing: where directions are found.
        scoring: where effects are measured.
    """

    choosing: Int[Tensor, " n"]
    scoring: Int[Tensor, " m"]


def intervention_rows(case: Case) -> Rows:
    """The two halves, or as many of either as are enough."""
    generator = case.generator("rows of interventions")
    return Rows(_some(case.halves.train, CHOOSING, generator), _some(case.halves.test, SCORING, generator))


def _some(rows: Int[Tensor, " n"], most: int, generator: Generator) -> Int[Tensor, " m"]:
    if len(rows) <= most:
        return rows
    kept: Tensor = rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]
    return kept


@dataclass(frozen=True)
class Spot:
    """One site, over the rows where directions are found, and over those where it is edited and the model run."""

    choosing: Site
    scoring: Site
    run: Runs


def spot(case: Case, name: str, rows: Rows) -> Spot:
    """A site of the case by name."""
    scoring = site_at(case, name, rows.scoring)
    return Spot(site_at(case, name, rows.choosing), scoring, _runs(case, name, scoring, rows))


def value_places(case: Case, rows: Rows, k: int) -> Iterator[Place]:
    """Every site of the case that holds more than one value."""
    for name in case.sites:
        at = spot(case, name, rows)
        if at.choosing.values.shape[1] > 1 and at.choosing.scale > 0:
            yield value_place(name, at.choosing, at.scoring, at.run, k)


def _runs(case: Case, name: str, scoring: Site, rows: Rows) -> Runs:
    count = copies_at_once(*scoring.values.shape)
    if count == 1 or isinstance(case.subject.sites, Mapping):
        return one_by_one(scoring)
    return repeated(scoring, site_at(case, name, rows.scoring.repeat(count)))


def all_parameters(case: Case, rows: Rows, k: int) -> Place:
    """The parameters; principal components are those of the last site, or of the outputs where there is none."""
    principal = torch.zeros(len(rows.choosing), 0, dtype=torch.float64)
    if case.sites:
        principal = leading_functions(site_at(case, last_site(case), rows.choosing).values, k)
    if not principal.shape[1]:
        principal = leading_functions(case.outputs[rows.choosing], k)
    return parameter_place(
        case.model,
        take(case.inputs, rows.choosing),
        take(case.inputs, rows.scoring),
        principal,
        output=case.subject.output,
    )


def last_site(case: Case) -> str:
    """The last one of the network."""
    return list(case.sites)[-1]


def site_at(case: Case, name: str, rows: Int[Tensor, " n"]) -> Site:
    """A site over some of the inputs."""
    if isinstance(case.subject.sites, Mapping):
        return _restricted(case.sites[name], rows)
    inputs = take(case.inputs, rows)
    if name != "inputs":
        return leaving(case.model, inputs, name, output=case.subject.output)
    single = inputs[0] if isinstance(inputs, tuple) else inputs
    return input_site(case.model, single, output=case.subject.output)  # type: ignore[arg-type]


def _restricted(site: Site, rows: Int[Tensor, " n"]) -> Site:
    """A site that its owner defined, the other inputs left as they are."""

    def run(values: Float[Tensor, "n w"]) -> Float[Tensor, "n C"]:
        return site.run(site.values.index_copy(0, rows.to(values.device), values))[rows]

    values = site.values[rows]
    return Site(site.name, values, run, values.mean(dim=0))


def tried(site: Site, values: Tensor) -> Tensor:
    """The outputs with other values at a site."""
    with torch.no_grad():
        return site.run(values).detach()
