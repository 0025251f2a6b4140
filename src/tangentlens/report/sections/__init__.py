"""The sections of a report, in the order of the page; a new one is a file here and a line below."""

from tangentlens.report.blocks import Section
from tangentlens.report.sections import (
    certificates,
    claims,
    cost,
    figures,
    headline,
    interventions,
    layers,
    leaderboard,
    linearised,
    modes,
    overlap,
    overview,
    replay,
    singular_values,
    spectrum,
    superposition,
    training,
    transformer,
)

SECTIONS: tuple[Section, ...] = (
    headline.SECTION,
    claims.SECTION,
    overview.SECTION,
    training.SECTION,
    superposition.SECTION,
    transformer.SECTION,
    spectrum.SECTION,
    overlap.SECTION,
    singular_values.SECTION,
    modes.SECTION,
    layers.SECTION,
    interventions.SECTION,
    leaderboard.SECTION,
    linearised.SECTION,
    certificates.SECTION,
    cost.SECTION,
    figures.SECTION,
    replay.SECTION,
)
