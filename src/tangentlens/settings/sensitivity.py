"""What would settle it: do the outputs answer more to moves along leading modes than along other directions?

Moves of equal length along the patterns of leading modes, of principal components, of random functions of the input,
and along random directions, at several sites. The ratio is that of the outputs' root mean square changes at the
smallest dose; above 1, the modes' directions matter more.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from tangentlens.features.functions import principal_functions, random_functions
from tangentlens.interventions.directions import patterns, random_directions
from tangentlens.interventions.steering import dose_response
from tangentlens.models.sites import Site
from tangentlens.settings.evidence_config import EvidenceConfig
from tangentlens.settings.figures import Arrays, Figures

CONTROLS = ("pca", "random_functions", "random")


def sensitivity(
    sites: Mapping[str, Site],
    modes: Mapping[str, Float[Tensor, "N _"]],
    labels: Int[Tensor, " N"],
    rows: Int[Tensor, " n"],
    config: EvidenceConfig,
    generator: Generator,
) -> tuple[Figures, Arrays]:
    """Dose and response at every site, and the ratios of the modes to the controls.

    Args:
        sites: name -> site.
        modes: name -> functions of the input, the leading ones first.
        labels: (N,) the right output of every input.
        rows: the inputs that count: the test rows. Directions come from all inputs; nothing is selected.
        config: directions and doses.
        generator: of the random controls.

    Returns:
        figures `settle.<site>.sensitivity_ratio.<modes>_over_<control>` and `settle.<site>.change.<name>` at the
        smallest dose, `settle.<site>.unpredicted.<name>`, the share of the change that first order misses, at the
        largest; arrays `steering.dose` (D,) and `steering.<site>.<name>.change`, `.predicted`, `.unpredicted` and
        `.accuracy` (D,).
    """
    arrays: Arrays = {"steering.dose": torch.tensor(config.doses, dtype=torch.float64)}
    figures: Figures = {}
    for place, site in sites.items():
        changes = {}
        for name, directions in _directions(site, modes, config.directions, generator).items():
            found = dose_response(site, directions, config.doses, labels, rows)
            changes[name] = float(found.change[0])
            prefix = f"steering.{place}.{name}"
            arrays |= {
                f"{prefix}.change": found.change,
                f"{prefix}.predicted": found.predicted,
                f"{prefix}.unpredicted": found.unpredicted,
                f"{prefix}.accuracy": found.accuracy,
            }
            figures[f"settle.{place}.change.{name}"] = (changes[name], "ratio")
            figures[f"settle.{place}.unpredicted.{name}"] = (float(found.unpredicted[-1] / found.change[-1]), "ratio")
        for name in modes.keys() & changes.keys():
            for control in CONTROLS:
                ratio = changes[name] / changes[control]
                figures[f"settle.{place}.sensitivity_ratio.{name}_over_{control}"] = (ratio, "ratio")
    return figures, arrays


def _directions(
    site: Site, modes: Mapping[str, Float[Tensor, "N _"]], k: int, generator: Generator
) -> dict[str, Float[Tensor, "w _"]]:
    """Unit directions, at most k of each kind; modes that leave no trace at a site are left out there."""
    N, w = site.values.shape
    functions = {
        **{name: block[:, :k] for name, block in modes.items()},
        "pca": principal_functions(site.values, k),
        "random_functions": random_functions(N, k, generator),
    }
    carried = {name: patterns(site, each) for name, each in functions.items()}
    found = {name: directions for name, directions in carried.items() if directions.shape[1]}
    return {**found, "random": random_directions(w, min(k, w), generator)}
