"""Sensitivity of the outputs to moves along leading modes, compared with moves along other directions.

Moves of equal length along the patterns of leading modes, of principal components, of random functions of the input,
and along random directions, at several sites. The ratio is that of the outputs' root mean square changes at the
smallest dose; above 1, the modes' directions matter more.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from tangentlens.analysis.evidence.trained_network import TrainedNetwork
from tangentlens.analysis.findings import Arrays, Figures, Findings, keyed
from tangentlens.analysis.options import EvidenceConfig
from tangentlens.controls.interventions.directions import patterns, random_directions
from tangentlens.controls.interventions.steering import DoseResponse, dose_response
from tangentlens.features.functions import principal_functions, random_functions
from tangentlens.models.sites import Site
from tangentlens.store.figure_keys import BASELINE, MODES, RANDOM, FirstMove, Move

CONTROLS = (BASELINE, "random_functions", RANDOM)
_RATIO = "sensitivity_ratio"


def sensitivity(network: TrainedNetwork, options: EvidenceConfig) -> Findings:
    """Dose and response at every site, and the ratios of the modes to the controls.

    Directions come from all inputs, the test rows count; nothing is selected.

    Returns:
        figures `settle.<site>.sensitivity_ratio.<modes>_over_<control>` and `settle.<site>.change.<name>` at the
        smallest dose, `settle.<site>.unpredicted.<name>`, the share of the change that first order misses, at the
        largest; `settle.sensitivity_ratio.entk_over_<control>` are those of the first site. Arrays `steering.dose` (D,)
        and `steering.<site>.<name>.change`, `.predicted`, `.unpredicted` and `.accuracy` (D,).
    """
    arrays: Arrays = {"steering.dose": torch.tensor(options.doses, dtype=torch.float64)}
    figures: Figures = {}
    generator = network.random("sensitivity")
    for place, site in network.sites.items():
        responses = {
            name: dose_response(site, directions, options.doses, network.labels, network.split.test)
            for name, directions in _directions(site, network.modes.moved, options.directions, generator).items()
        }
        arrays |= _curves(place, responses)
        figures |= _changes(place, responses)
        figures |= _ratios(place, network.modes.moved, responses)
    first = next(iter(network.sites))
    for control in CONTROLS:
        ratio = f"{MODES}_over_{control}"
        figures[str(FirstMove(ratio))] = figures[str(Move(first, _RATIO, ratio))]
    return Findings(figures, arrays)


def _curves(place: str, responses: Mapping[str, DoseResponse]) -> Arrays:
    return {
        f"steering.{place}.{name}.{kind}": getattr(found, kind)
        for name, found in responses.items()
        for kind in ("change", "predicted", "unpredicted", "accuracy")
    }


def _changes(place: str, responses: Mapping[str, DoseResponse]) -> Figures:
    figures: Figures = {}
    for name, found in responses.items():
        missed = float(found.unpredicted[-1] / found.change[-1])
        figures |= keyed(
            {Move(place, "change", name): float(found.change[0]), Move(place, "unpredicted", name): missed}
        )
    return figures


def _ratios(place: str, modes: Iterable[str], responses: Mapping[str, DoseResponse]) -> Figures:
    """Change along modes over that along each control, at the smallest dose."""
    changes = {name: float(found.change[0]) for name, found in responses.items()}
    return keyed(
        {
            Move(place, _RATIO, f"{name}_over_{control}"): changes[name] / changes[control]
            for name in modes
            if name in changes
            for control in CONTROLS
        }
    )


def _directions(
    site: Site, modes: Mapping[str, Float[Tensor, "N _"]], k: int, generator: Generator
) -> dict[str, Float[Tensor, "w _"]]:
    """Unit directions, at most k of each kind; modes that leave no trace at a site are left out there."""
    N, w = site.values.shape
    functions = {
        **{name: block[:, :k] for name, block in modes.items()},
        BASELINE: principal_functions(site.values, k),
        "random_functions": random_functions(N, k, generator),
    }
    carried = {name: patterns(site, each) for name, each in functions.items()}
    found = {name: directions for name, directions in carried.items() if directions.shape[1]}
    return {**found, RANDOM: random_directions(w, min(k, w), generator)}
